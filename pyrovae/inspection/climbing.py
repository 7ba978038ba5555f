"""Gradient ascent on the bounds of many images at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.inspection.tracing import Traced
from pyrovae.utils.randomness import private_randomness

__all__ = ["climb"]


#: Rounds of steps, at most.
ROUNDS = 6

#: A round that gains no image as much, in nats, is the last one.
ENOUGH = 0.01

#: How often the bound is drawn to see what a round gained.
DRAWS = 50

#: The moments of Adam's gradients must be forgotten within the steps of a round.
BETAS = (0.9, 0.95)


def climb(
    bound: Callable[[list[Tensor]], Tensor],
    start: list[Tensor],
    rates: list[float],
    steps: int,
) -> list[Tensor]:
    """Raises the bounds of many images with Adam, in rounds, until no image gains any more.

    A round ends at the mean over the last quarter of its steps. The next one starts there, at
    half the learning rates. An image of no gain stays where it was. The last round is the one in
    which no image gains 0.01 nats, or more than two standard errors, but at most `ROUNDS`.

    Args:
        bound: what is to rise: of free tensors, `(S, B)` for draws and images.
        start: the free tensors at the start, `(B, *)` each.
        rates: their learning rates at the start of the first round; within a round they fall to
            0 as a half cosine.
        steps: steps of a round; without any the start is returned.
    """
    free = [tensor.detach() for tensor in start]
    if not steps:
        return free
    slopes = Traced(lambda *given: _slopes(bound, given))
    for turn in range(ROUNDS):
        found = _round(slopes, free, [rate / 2**turn for rate in rates], steps)
        gain, error = _gain(bound, free, found, seed=turn)
        free = [_chosen(gain > 0, new, old) for new, old in zip(found, free, strict=True)]
        if not (gain > (2 * error).clamp(min=ENOUGH)).any():
            break
    return free


def _round(
    slopes: Callable[..., tuple[Tensor, ...]],
    start: list[Tensor],
    rates: list[float],
    steps: int,
) -> list[Tensor]:
    """Where Adam brings free tensors: their mean over the last quarter of the steps."""
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
def _gain(
    bound: Callable[[list[Tensor]], Tensor], old: list[Tensor], new: list[Tensor], seed: int
) -> tuple[Tensor, Tensor]:
    """How much higher the bound of each image is, `(B,)`, and the standard error."""
    values = []
    for free in (old, new):  # The same draws for both.
        with private_randomness(seed, free[0].device):
            values.append(torch.cat([bound(free) for _ in range(DRAWS)]))
    gains = (values[1] - values[0]).nan_to_num(-torch.inf, -torch.inf, -torch.inf)
    return gains.mean(0), (gains.std(0) / math.sqrt(len(gains))).nan_to_num(0.0)


def _chosen(which: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The rows of one tensor where said, else those of the other."""
    return torch.where(which.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _slopes(
    bound: Callable[[list[Tensor]], Tensor], given: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The gradients of minus the bound, summed over images."""
    free = [tensor.detach().requires_grad_() for tensor in given]
    with torch.enable_grad():
        loss = -bound(free).mean(0).sum()
    return torch.autograd.grad(loss, free)
