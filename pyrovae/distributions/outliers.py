"""Pixels that may be anything, with a small probability."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

__all__ = ["WithOutliers"]

#: The share of outliers, as small as the probabilities to which Bernoulli baselines are clamped.
SHARE = 1e-4


class WithOutliers(TorchDistribution):
    r"""Independent pixels; each is uniform over all values with probability 0.0001.

    $$p(x) = (1 - \epsilon)\, q(x) + \epsilon\, u, \quad \epsilon = 10^{-4}$$

    A pixel that is black in all training images has a narrow q. Without outliers, one image in
    which it is white would have a log density of -10,000 nats, and would decide the mean of all.

    Args:
        pixels: q, with an empty event shape.
        level: u, the uniform density of a pixel: 1 on [0, 1], and 1 / 256 for grey values.
    """

    has_rsample = False
    arg_constraints: dict[str, Any] = {}

    def __init__(self, pixels: TorchDistribution, level: float) -> None:
        self.pixels, self.level = pixels, level
        super().__init__(pixels.batch_shape, pixels.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """The support of q."""
        return self.pixels.support

    @property
    def mean(self) -> Tensor:
        """The mean; that of outliers is 1/2."""
        return (1 - SHARE) * self.pixels.mean + SHARE / 2

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws pixels without gradients."""
        drawn = self.pixels.sample(sample_shape)
        number, values = torch.rand(2, *drawn.shape, device=drawn.device)
        if self.level < 1:
            values = (values / self.level).floor() * (self.level / (1 - self.level))
        return torch.where(number < SHARE, values.to(drawn), drawn)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log p(x), `(*)`."""
        regular = self.pixels.log_prob(value) + math.log1p(-SHARE)
        return torch.logaddexp(regular, torch.full_like(regular, math.log(SHARE * self.level)))
