"""Gradient ascent on the bounds of many images in parallel."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pyrovae.inspection.tracing import Traced
from pyrovae.utils.randomness import private_randomness

__all__ = ["adam", "chosen_rows", "climb", "downhill"]

#: Takes the free tensors, returns the bounds `(S, B)` of draws and images.
Bound = Callable[[list[Tensor]], Tensor]

#: Largest number of rounds.
ROUNDS = 10

#: A round in which no image gains more than this, in nats, is the last one at its rates.
ENOUGH = 0.02

#: Divisors of the learning rates where no image gains at full rates, and in the final round.
SLOW, SLOWER = 3, 10

#: The length of the final round, in rounds.
LENGTH = 3

#: Evaluations of the bound that estimate the gain of a round.
DRAWS = 20

#: Short averages: Adam's moments must decay within the steps of a round.
BETAS = (0.9, 0.95)


def _ones(free: list[Tensor]) -> list[Tensor]:
    return [torch.ones_like(tensor) for tensor in free]


def climb(
    bound: Bound,
    start: list[Tensor],
    rates: list[float],
    steps: int,
    units: Callable[[list[Tensor]], list[Tensor]] = _ones,
) -> list[Tensor]:
    """Maximises the bounds of many images with Adam, in rounds, until no image gains any more.

    A round ends at the mean of its last quarter of steps, where the next round starts. An image
    that loses more than two standard errors keeps its earlier values. When no image gains more
    than 0.02 nats and more than two standard errors, the learning rates fall to a third, and when
    that happens again, or after `ROUNDS` rounds, the rounds end. Then the noise of the gradients
    limits the bound. So a final round has a tenth of the rates, is three times as long, and ends
    at the mean of its last two thirds.

    Args:
        bound: the function to maximise: takes the free tensors, returns `(S, B)` for draws and
            images.
        start: the free tensors at the start, `(B, *)` each.
        rates: their learning rates; within a round they fall to 0 as a half cosine.
        steps: steps per round; with 0 the start is returned.
        units: takes the free tensors at the start of a round, returns the scales in whose units
            the learning rates are; by default ones.

    Returns:
        The free tensors at the end.
    """
    free = [tensor.detach() for tensor in start]
    if not steps:
        return free
    slopes = Traced(partial(downhill, bound))
    values = _values(bound, free)

    def improve(slower: int, steps: int, kept: int) -> bool:
        nonlocal free, values
        found = adam(slopes, free, units(free), [rate / slower for rate in rates], steps, kept)
        new = _values(bound, found)
        gain, error = _gain(values, new)
        taken = gain > -2 * error
        free = [chosen_rows(taken, one, old) for one, old in zip(found, free, strict=True)]
        values = torch.where(taken, new, values)
        return _gains(gain, error)

    slower = 1
    for _ in range(ROUNDS):
        if not improve(slower, steps, steps // 4):
            if slower > 1:
                break
            slower = SLOW
    improve(SLOWER, LENGTH * steps, (LENGTH - 1) * steps)
    return free


def adam(
    slopes: Callable[..., tuple[Tensor, ...]],
    start: list[Tensor],
    units: list[Tensor],
    rates: list[float],
    steps: int,
    kept: int = 1,
    betas: tuple[float, float] = BETAS,
) -> list[Tensor]:
    """The mean of the free tensors over the last steps of one round of Adam.

    Args:
        slopes: takes the free tensors, returns the gradients of what is minimised.
        start: the free tensors at the start.
        units: the scales in whose units the learning rates are.
        rates: the learning rates at the start; they fall to 0 as a half cosine.
        steps: the number of steps.
        kept: the last steps whose mean is the result; at least one is.
        betas: of Adam.
    """
    kept = max(1, kept)
    moves = [torch.zeros_like(tensor, requires_grad=True) for tensor in start]
    groups = [{"params": [own], "lr": rate} for own, rate in zip(moves, rates, strict=True)]
    optimizer = torch.optim.Adam(groups, betas=betas)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    mean = [torch.zeros_like(tensor) for tensor in start]
    for step in range(steps):
        free = _moved(start, units, [own.detach() for own in moves])
        for own, unit, slope in zip(moves, units, slopes(*free), strict=True):
            own.grad = unit * slope.nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
        schedule.step()
        if step >= steps - kept:
            for total, own in zip(mean, moves, strict=True):
                total += own.detach() / kept
    return _moved(start, units, mean)


def _moved(start: list[Tensor], units: list[Tensor], moves: list[Tensor]) -> list[Tensor]:
    return [first + unit * own for first, unit, own in zip(start, units, moves, strict=True)]


@torch.no_grad()
def _values(bound: Bound, free: list[Tensor]) -> Tensor:
    """The bounds of many draws, `(S, B)`; the draws are the same in each call."""
    with private_randomness(0, free[0].device):
        return torch.cat([bound(free) for _ in range(DRAWS)])


def _gain(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """The gain in the bound of each image, `(B,)`, and its standard error."""
    gains = (new - old).nan_to_num(-torch.inf, -torch.inf, -torch.inf)
    return gains.mean(0), (gains.std(0) / math.sqrt(len(gains))).nan_to_num(0.0)


def _gains(gain: Tensor, error: Tensor) -> bool:
    """Whether one image, or the mean of all, gains more than its error and `ENOUGH`."""
    mean, its_error = gain.mean(), error.square().sum().sqrt() / len(error)
    one = (gain > (2 * error).clamp(min=ENOUGH)).any()
    return bool(one | (mean > its_error.clamp(min=ENOUGH)))


def chosen_rows(which: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The rows of `new` where `which` is true, else those of `old`."""
    return torch.where(which.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def downhill(bound: Bound, *given: Tensor) -> tuple[Tensor, ...]:
    """The gradients of minus the bound, summed over images, by the free tensors `given`."""
    free = [tensor.detach().requires_grad_() for tensor in given]
    with torch.enable_grad():
        loss = -bound(free).mean(0).sum()
    return torch.autograd.grad(loss, free)
