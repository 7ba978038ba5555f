"""Gradient ascent on the bounds of many images in parallel."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.inspection.tracing import Traced
from pyrovae.utils.randomness import private_randomness

__all__ = ["chosen_rows", "climb", "climb_once"]

#: Takes the free tensors, returns the bounds `(S, B)` of draws and images.
Bound = Callable[[list[Tensor]], Tensor]

#: Largest number of rounds.
ROUNDS = 6

#: A round in which no image gains more than this, in nats, is the last one.
ENOUGH = 0.01

#: Evaluations of the bound that estimate the gain of a round.
DRAWS = 50

#: Short averages: Adam's moments must decay within the steps of a round.
BETAS = (0.9, 0.95)


def climb(bound: Bound, start: list[Tensor], rates: list[float], steps: int) -> list[Tensor]:
    """Maximises the bounds of many images with Adam, in rounds, until no image gains any more.

    A round ends at the mean of its last quarter of steps. The next round starts there, with half
    the learning rates. An image without a gain keeps its earlier values. The rounds end when no
    image gains more than 0.01 nats and more than two standard errors, or after `ROUNDS` rounds.

    Args:
        bound: the function to maximise: takes the free tensors, returns `(S, B)` for draws and
            images.
        start: the free tensors at the start, `(B, *)` each.
        rates: their learning rates at the start of the first round; within a round they fall to
            0 as a half cosine.
        steps: steps per round; with 0 the start is returned.

    Returns:
        The free tensors at the end.
    """
    free = [tensor.detach() for tensor in start]
    if not steps:
        return free
    slopes = Traced(lambda *given: _slopes(bound, given))
    for turn in range(ROUNDS):
        found = _round(slopes, free, [rate / 2**turn for rate in rates], steps)
        gain, error = _gain(bound, free, found, seed=turn)
        free = [chosen_rows(gain > 0, new, old) for new, old in zip(found, free, strict=True)]
        if not (gain > (2 * error).clamp(min=ENOUGH)).any():
            break
    return free


def climb_once(bound: Bound, start: list[Tensor], rates: list[float], steps: int) -> list[Tensor]:
    """The end of the first round of `climb`, whether or not images have gained.

    Args:
        bound: the function to maximise, as for `climb`.
        start: the free tensors at the start, `(B, *)` each.
        rates: their learning rates at the start.
        steps: the number of steps.
    """
    free = [tensor.detach() for tensor in start]
    return _round(lambda *given: _slopes(bound, given), free, rates, steps)


def _round(
    slopes: Callable[..., tuple[Tensor, ...]], start: list[Tensor], rates: list[float], steps: int
) -> list[Tensor]:
    """The mean of the free tensors over the last quarter of one round's steps of Adam."""
    free = [tensor.clone().requires_grad_() for tensor in start]
    optimizer = torch.optim.Adam(
        [{"params": [f], "lr": r} for f, r in zip(free, rates, strict=True)], betas=BETAS
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    mean, kept = [torch.zeros_like(tensor) for tensor in free], max(1, steps // 4)
    for step in range(steps):
        for tensor, slope in zip(free, slopes(*free), strict=True):
            tensor.grad = slope.nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
        schedule.step()
        if step >= steps - kept:
            for total, tensor in zip(mean, free, strict=True):
                total += tensor.detach() / kept
    return mean


@torch.no_grad()
def _gain(bound: Bound, old: list[Tensor], new: list[Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """The gain in the bound of each image, `(B,)`, and its standard error."""
    values = []
    for free in (old, new):  # The same draws for both.
        with private_randomness(seed, free[0].device):
            values.append(torch.cat([bound(free) for _ in range(DRAWS)]))
    gains = (values[1] - values[0]).nan_to_num(-torch.inf, -torch.inf, -torch.inf)
    return gains.mean(0), (gains.std(0) / math.sqrt(len(gains))).nan_to_num(0.0)


def chosen_rows(which: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The rows of `new` where `which` is true, else those of `old`."""
    return torch.where(which.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _slopes(bound: Bound, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The gradients of minus the bound, summed over images."""
    free = [tensor.detach().requires_grad_() for tensor in given]
    with torch.enable_grad():
        loss = -bound(free).mean(0).sum()
    return torch.autograd.grad(loss, free)
