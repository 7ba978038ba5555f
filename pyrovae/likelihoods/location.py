"""Likelihoods whose maps are the locations of the pixels."""

from __future__ import annotations

from abc import abstractmethod

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions.constraints import LearnedScale
from pyrovae.likelihoods.base import Likelihood

__all__ = ["LearnedScaleLikelihood", "LocationLikelihood"]


class LocationLikelihood(Likelihood):
    """A likelihood of independent pixels, for each of which the decoder gives one number."""

    def num_maps(self, channels: int) -> int:
        """One map per channel: the location, or the log odds."""
        return channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, C, H, W)`: batch `*`, event shape `(C, H, W)`."""
        return self.pixels(h).to_event(3)

    @abstractmethod
    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """The distribution of each pixel, of batch shape `(*, C, H, W)`."""


class LearnedScaleLikelihood(LocationLikelihood):
    """A likelihood of independent pixels around a location, with one learned scale for all.

    Args:
        initial_scale: the scale at the start, positive.

    Attributes:
        deviation: the standard deviation of a pixel whose scale is 1.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.
    """

    deviation = 1.0

    def __init__(self, initial_scale: float) -> None:
        super().__init__()
        self.scale = LearnedScale(initial_scale)

    def start_at(self, scale: float) -> float:
        """Takes this standard deviation to start from; returns what it took."""
        return self.deviation * self.scale.start_at(scale / self.deviation)

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"initial_scale={self.scale.initial}"
