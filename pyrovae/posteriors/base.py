"""The base classes of posterior families."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions.constraints import bounded_exp
from pyrovae.distributions.latent import LatentModule
from pyrovae.utils.errors import cannot_start

__all__ = ["LocationScale", "Posterior"]


class Posterior(LatentModule, ABC):
    """q(z given h): a module that maps the encoder's output h to a distribution of shape `(D,)`.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    Attributes:
        couples_batch: whether the distribution of one image depends on the rest of the batch.

    Raises:
        ValueError: if `latent_dim` is not positive.
    """

    couples_batch: bool = False

    @property
    @abstractmethod
    def num_params(self) -> int:
        """The number of outputs per image that the encoder must have."""

    @abstractmethod
    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, num_params)`: batch shape `*`."""

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder output h for this location and scale, each `(*, D)`.

        Optional: `ProbabilisticPCA` needs it.

        Raises:
            InputError: if the family does not implement it.
        """
        raise cannot_start(self, "no features give it a chosen location and scale")


class LocationScale(Posterior):
    """A posterior with a bounded location and scale per dimension."""

    LOG_SCALE_LIMIT = 7.0
    LOC_LIMIT = 1e4

    @property
    def num_params(self) -> int:
        """Two numbers per dimension: location and raw log scale."""
        return 2 * self.latent_dim

    def location_and_scale(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale, each `(*, D)`, from the halves of h `(*, 2 D)`.

        The location lies within ±1e4, the scale between e^-7 and e^7.
        """
        loc, raw = h.chunk(2, dim=-1)
        scale = bounded_exp(raw, self.LOG_SCALE_LIMIT)
        return loc.clamp(-self.LOC_LIMIT, self.LOC_LIMIT), scale
