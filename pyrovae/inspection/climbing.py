"""Gradient ascent on the bounds of many images at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.inspection.tracing import Traced

__all__ = ["climb"]


def climb(
    bound: Callable[[list[Tensor]], Tensor],
    start: list[Tensor],
    rates: list[float],
    steps: int,
) -> list[Tensor]:
    """Where Adam brings free tensors: their mean over the last quarter of the steps.

    Args:
        bound: what is to rise: of free tensors, `(S, B)` for draws and images.
        start: the free tensors at the start.
        rates: their learning rates at the start, which fall to 0 as a half cosine.
        steps: how many.
    """
    free = [tensor.detach().clone().requires_grad_() for tensor in start]
    optimizer = torch.optim.Adam(
        [{"params": [f], "lr": r} for f, r in zip(free, rates, strict=True)]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    mean, kept = [torch.zeros_like(tensor) for tensor in free], max(1, steps // 4)
    slopes = Traced(lambda *given: _slopes(bound, given))
    for step in range(steps):
        for tensor, slope in zip(free, slopes(*free), strict=True):
            tensor.grad = slope.nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
        schedule.step()
        if step >= steps - kept:
            for total, tensor in zip(mean, free, strict=True):
                total += tensor.detach() / kept
    return mean if steps else [tensor.detach() for tensor in free]


def _slopes(
    bound: Callable[[list[Tensor]], Tensor], given: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The gradients of minus the bound, summed over images."""
    free = [tensor.detach().requires_grad_() for tensor in given]
    with torch.enable_grad():
        loss = -bound(free).mean(0).sum()
    return torch.autograd.grad(loss, free)
