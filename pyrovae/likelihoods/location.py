"""Base classes of likelihoods with one map per channel."""

from __future__ import annotations

from abc import abstractmethod

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions.constraints import LearnedScale
from pyrovae.likelihoods.base import Likelihood

__all__ = ["LearnedScaleLikelihood", "LocationLikelihood", "ScaledLikelihood"]


class LocationLikelihood(Likelihood):
    """A likelihood of independent pixels, with one decoder output per pixel and channel."""

    def num_maps(self, channels: int) -> int:
        """One map per channel: the location, or the log odds."""
        return channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, C, H, W)`: batch `*`, event shape `(C, H, W)`."""
        return self.pixels(h).to_event(3)

    @abstractmethod
    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """The distribution per pixel, batch shape `(*, C, H, W)`."""


class ScaledLikelihood(Likelihood):
    """A likelihood with one shared learned scale.

    Args:
        initial_scale: the initial scale, positive.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.
    """

    def __init__(self, initial_scale: float) -> None:
        super().__init__()
        self.scale = LearnedScale(initial_scale)

    def noise_scale(self) -> Tensor:
        """The learned scale, of shape `()`; maps may multiply it per pixel."""
        return self.scale()

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"initial_scale={self.scale.initial}"


class LearnedScaleLikelihood(ScaledLikelihood, LocationLikelihood):
    """A likelihood of independent pixels around a location, with one shared learned scale.

    Args:
        initial_scale: the initial scale, positive; `ProbabilisticPCA` as the
            start replaces it.

    Attributes:
        deviation: the standard deviation of the distribution with scale 1.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.
    """

    deviation = 1.0

    def __init__(self, initial_scale: float = 0.1) -> None:
        super().__init__(initial_scale)

    def start_at(self, scale: float) -> float:
        """Sets the initial standard deviation; returns the value that is set."""
        return self.deviation * self.scale.start_at(scale / self.deviation)
