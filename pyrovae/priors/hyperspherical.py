"""Priors on the unit sphere."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import von_mises_fisher
from pyrovae.priors.base import Prior

__all__ = ["HypersphericalUniform"]


class HypersphericalUniform(Prior):
    r"""Uniform prior on the unit sphere: latents are directions.

    $$p(z) = \frac{\Gamma(D/2)}{2 \pi^{D/2}}, \quad \|z\| = 1$$

    This is a density per area of the sphere.

    Use it with the `VonMisesFisher` posterior, for data with cyclic or directional structure and
    for codes that are compared by angle. No direction is preferred, unlike the origin under a
    Normal prior, and the KL is exact.

    Args:
        latent_dim: number of latent dimensions D, at least 2; the sphere has D - 1 dimensions.

    Raises:
        ValueError: if `latent_dim` is below 2.

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018, section 3),
        https://arxiv.org/abs/1804.00891

    Example:
        >>> prior = HypersphericalUniform(latent_dim=3)
        >>> z = prior().sample((5,))
        >>> prior().log_prob(z)
        tensor([-2.5310, -2.5310, -2.5310, -2.5310, -2.5310])
    """

    zero: Tensor

    def __init__(self, latent_dim: int = 128) -> None:
        if latent_dim < 2:
            raise ValueError(f"latent_dim must be at least 2 on a sphere, got {latent_dim}")
        super().__init__(latent_dim)
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        zero = self.zero
        return von_mises_fisher.SphereUniform(
            self.latent_dim, dtype=zero.dtype, device=zero.device
        )
