"""Maps from unbounded network outputs to parameters of densities."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["LearnedScale", "at_least", "bounded_exp", "bounded_log", "not_negative", "positive"]


def bounded_exp(raw: Tensor, limit: float) -> Tensor:
    r"""Returns $e^{l \tanh(s / l)}$: $e^s$ near 0, and bounded by $e^{\pm l}$.

    The result is positive and finite for every input that is not NaN, even for infinity.
    """
    return (limit * torch.tanh(raw / limit)).exp()


def bounded_log(value: Tensor, limit: float) -> Tensor:
    """The inverse of `bounded_exp`; values near or beyond its limits are clamped."""
    return limit * torch.atanh((value.log() / limit).clamp(-0.99, 0.99))


def positive(name: str, value: float) -> float:
    """Returns the value; raises `ValueError` unless it is positive and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value


def not_negative(name: str, value: float) -> float:
    """Returns a number; raises `ValueError` unless it is at least 0 and finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value}")
    return value


def at_least(name: str, value: int, least: int) -> int:
    """Returns a number; raises `ValueError` if it is below the least allowed one."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


class LearnedScale(nn.Module):
    r"""A learned positive number: $\sigma = 0.001 + \sigma_0 e^{10 a}$.

    Optimisers such as Adam move every parameter by about the same step. With the factor 10 the
    scale can follow a residual that shrinks tenfold within a run.

    Args:
        initial: $\sigma_0$, positive.
    """

    FLOOR = 1e-3
    GAIN = 10.0

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.initial = positive("initial_scale", initial)
        self.raw = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        r"""Returns $\sigma$, a tensor of shape `()`."""
        return self.FLOOR + self.initial * (self.GAIN * self.raw).exp()

    @torch.no_grad()
    def start_at(self, value: float) -> float:
        """Sets the number to a value, at least to the floor; returns the new number."""
        above = max(value - self.FLOOR, 1e-3 * self.FLOOR)
        self.raw.fill_(math.log(above / self.initial) / self.GAIN)
        return float(self())
