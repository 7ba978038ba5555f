"""The base class of priors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
from torch import nn

from pyrovae.distributions.latent import LatentModule

__all__ = ["Prior"]


class Prior(LatentModule, ABC):
    """p(z): a module whose call returns a distribution of event shape `(D,)`.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    Attributes:
        couples_batch: whether the density of one image depends on the rest of the batch.
        uses_guide: whether p(z) is computed from posteriors of the guide.

    Raises:
        ValueError: if `latent_dim` is not positive.
    """

    couples_batch: bool = False
    uses_guide: bool = False

    @abstractmethod
    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""

    def use_guide(self, guide: nn.Module) -> None:
        """Receives the guide of the VAE, a module with `z_dist(x)`; ignores it by default."""
