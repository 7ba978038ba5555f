"""What a prior is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist

from pyrovae.distributions.latent import LatentModule

__all__ = ["Prior"]


class Prior(LatentModule, ABC):
    """p(z): a module whose call returns a distribution of event shape `(D,)`.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    Raises:
        ValueError: if `latent_dim` is not positive.
    """

    @abstractmethod
    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
