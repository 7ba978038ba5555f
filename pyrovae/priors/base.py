"""What a prior is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import nn

from pyrovae.utils.arguments import Recorded

__all__ = ["Prior"]


class Prior(Recorded, nn.Module, ABC):
    """p(z): a module whose call returns a distribution of event shape `(D,)`.

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

    @abstractmethod
    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"latent_dim={self.latent_dim}"
