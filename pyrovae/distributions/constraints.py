"""How unbounded numbers, as networks give them, become the parameters that densities need."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["LearnedScale", "bounded_exp", "bounded_log", "positive"]


def bounded_exp(raw: Tensor, limit: float) -> Tensor:
    r"""The exponential of $l \tanh(s / l)$: $e^s$ near 0, and never beyond $e^{\pm l}$.

    No input, infinite ones included, gives zero, infinity or a NaN.
    """
    return (limit * torch.tanh(raw / limit)).exp()


def bounded_log(value: Tensor, limit: float) -> Tensor:
    """What `bounded_exp` makes this value of, or the nearest that is well inside its limits."""
    return limit * torch.atanh((value.log() / limit).clamp(-0.99, 0.99))


def positive(name: str, value: float) -> float:
    """The value, if it is positive and finite; raises `ValueError` if not."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value


class LearnedScale(nn.Module):
    r"""One positive number, learned with the networks: $\sigma = 0.001 + \sigma_0 e^{10 a}$.

    The factor 10 lets it follow a residual that shrinks tenfold within a run, under optimisers
    such as Adam that move every parameter by the same step.

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
        """The number, a tensor of shape `()`."""
        return self.FLOOR + self.initial * (self.GAIN * self.raw).exp()

    @torch.no_grad()
    def start_at(self, value: float) -> float:
        """Takes this value, or the floor if it is below; returns what it took."""
        above = max(value - self.FLOOR, 1e-3 * self.FLOOR)
        self.raw.fill_(math.log(above / self.initial) / self.GAIN)
        return float(self())
