"""Priors p(z): modules whose call returns a distribution over latent vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
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


class StandardNormal(Prior):
    r"""Standard normal prior, the choice of the first VAE.

    $$p(z) = \prod_{d=1}^{D} \mathcal{N}(z_d \mid 0, 1)$$

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, section 3),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> prior = StandardNormal(latent_dim=2)
        >>> prior().event_shape
        torch.Size([2])
        >>> prior().log_prob(torch.zeros(2))
        tensor(-1.8379)
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int = 128) -> None:
        super().__init__(latent_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        return dist.Normal(self.loc, self.scale).to_event(1)
