"""Posteriors on the unit sphere."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pyrovae.distributions import von_mises_fisher
from pyrovae.distributions.constraints import bounded_exp
from pyrovae.posteriors.base import Posterior

__all__ = ["VonMisesFisher"]


class VonMisesFisher(Posterior):
    r"""Von Mises-Fisher posterior on the unit sphere, the analogue of the Normal for directions.

    $$q(z \mid h) = \frac{\kappa^{D/2 - 1}}{(2 \pi)^{D/2} I_{D/2 - 1}(\kappa)}
    \, e^{\kappa \mu^T z}, \quad \|z\| = 1, \quad \mu = \frac{m}{\|m\|}, \quad
    \log \frac{\kappa}{D - 1} = 10 \tanh(s / 10)$$

    where m are the first D entries of h and s is the last. Density, KL with
    `HypersphericalUniform`, draws and gradients are exact up to rounding for every D. The entries
    of m lie between -1e4 and 1e4. Where m is close to zero, the first axis is added to it, so that
    no input gives a NaN, not even an infinite one.

    Use it with the `HypersphericalUniform` prior only: other priors have densities on all of
    $\mathbb{R}^D$, not on the sphere.

    Args:
        latent_dim: number of latent dimensions D, at least 2; the sphere has D - 1 dimensions.

    Raises:
        ValueError: if `latent_dim` is below 2.

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018, section 3),
        https://arxiv.org/abs/1804.00891; Spherical Latent Spaces for Stable Variational
        Autoencoders (Xu and Durrett, 2018), https://arxiv.org/abs/1808.10805

    Example:
        >>> posterior = VonMisesFisher(latent_dim=3)
        >>> q = posterior(torch.tensor([0.0, 2.0, 0.0, 1.5]))
        >>> q.loc, q.concentration
        (tensor([0., 1., 0.]), tensor(8.8640))
    """

    LOC_LIMIT = 1e4
    LOG_CONCENTRATION_LIMIT = 10.0
    SHORTEST = 1e-4

    def __init__(self, latent_dim: int = 128) -> None:
        if latent_dim < 2:
            raise ValueError(f"latent_dim must be at least 2 on a sphere, got {latent_dim}")
        super().__init__(latent_dim)

    @property
    def num_params(self) -> int:
        """The direction, of any length, and the raw log concentration: D + 1 numbers."""
        return self.latent_dim + 1

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, D + 1)`: batch shape `*`."""
        spread = bounded_exp(h[..., -1], self.LOG_CONCENTRATION_LIMIT)
        concentration = (self.latent_dim - 1) * spread
        return von_mises_fisher.VonMisesFisher(self._direction(h[..., :-1]), concentration)

    def _direction(self, vector: Tensor) -> Tensor:
        """The vector scaled to unit length; a vector close to zero gets the first axis added."""
        vector = vector.clamp(-self.LOC_LIMIT, self.LOC_LIMIT)
        short = vector.detach().norm(dim=-1, keepdim=True) < self.SHORTEST
        first_axis = torch.eye(1, self.latent_dim, dtype=vector.dtype, device=vector.device)[0]
        return normalize(vector + short * first_axis, dim=-1)
