"""What a posterior family is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import Tensor, nn

__all__ = ["Posterior"]


class Posterior(nn.Module, ABC):
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
