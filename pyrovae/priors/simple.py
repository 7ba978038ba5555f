"""Priors with nothing to learn."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.priors.base import Prior

__all__ = ["StandardNormal"]


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
