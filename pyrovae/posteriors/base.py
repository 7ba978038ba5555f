"""What a posterior family is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import Tensor

from pyrovae.distributions.constraints import bounded_exp
from pyrovae.distributions.latent import LatentModule
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import cannot_start

__all__ = ["LocationScale", "Posterior"]


class Posterior(Recorded, LatentModule, ABC):
    """q(z given h): a module that maps the encoder's output h to a distribution of shape `(D,)`.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    Attributes:
        couples_batch: whether its distribution for an image depends on the others of the batch.

    Raises:
        ValueError: if `latent_dim` is not positive.
    """

    couples_batch: bool = False

    @property
    @abstractmethod
    def num_params(self) -> int:
        """How many numbers the encoder must give for one image."""

    @abstractmethod
    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, num_params)`: batch shape `*`."""

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder's output h that gives this location and scale, each `(*, D)`.

        Optional: `ProbabilisticPCA` needs it.

        Raises:
            InputError: if the family has no such h.
        """
        raise cannot_start(self, "it has no features")


class LocationScale(Posterior):
    """A posterior that has a location and a scale for each dimension, bounded on all sides."""

    LOG_SCALE_LIMIT = 7.0
    LOC_LIMIT = 1e4

    @property
    def num_params(self) -> int:
        """Two numbers per dimension: location and raw log scale."""
        return 2 * self.latent_dim

    def location_and_scale(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The two, each `(*, D)`, of the halves of h `(*, 2 D)`: 1e4 and e^7 bound them."""
        loc, raw = h.chunk(2, dim=-1)
        scale = bounded_exp(raw, self.LOG_SCALE_LIMIT)
        return loc.clamp(-self.LOC_LIMIT, self.LOC_LIMIT), scale
