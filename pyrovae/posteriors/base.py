"""What a posterior family is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.distributions.constraints import bounded_exp
from pyrovae.utils.arguments import Recorded

__all__ = ["LocationScale", "Posterior"]


class Posterior(Recorded, nn.Module, ABC):
    """q(z given h): a module that maps the encoder's output h to a distribution of shape `(D,)`.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    Raises:
        ValueError: if `latent_dim` is not positive.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
        self.latent_dim = latent_dim

    @property
    @abstractmethod
    def num_params(self) -> int:
        """How many numbers the encoder must give for one image."""

    @abstractmethod
    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, num_params)`: batch shape `*`."""

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"latent_dim={self.latent_dim}"


class LocationScale(Posterior):
    """A posterior that has a location and a scale for each dimension, bounded on all sides."""

    LOG_SCALE_LIMIT = 7.0
    LOC_LIMIT = 1e4

    def __init__(self, latent_dim: int = 128) -> None:
        super().__init__(latent_dim)

    def location_and_scale(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The two, each `(*, D)`, of the halves of h `(*, 2 D)`: 1e4 and e^7 bound them."""
        loc, raw = h.chunk(2, dim=-1)
        scale = bounded_exp(raw, self.LOG_SCALE_LIMIT)
        return loc.clamp(-self.LOC_LIMIT, self.LOC_LIMIT), scale
