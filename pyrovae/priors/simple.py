"""Priors without parameters."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import distributions
from pyrovae.distributions.constraints import positive
from pyrovae.priors.base import Prior

__all__ = ["Laplace", "StandardNormal", "StudentT"]


class _Elementwise(Prior):
    """A prior of independent, identically distributed dimensions with location 0 and scale 1."""

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int = 128) -> None:
        super().__init__(latent_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)


class StandardNormal(_Elementwise):
    r"""Standard Normal prior, the prior of the original VAE.

    $$p(z) = \prod_{d=1}^{D} \mathcal{N}(z_d \mid 0, 1)$$

    Use it first: it has no parameters, and its KL with a Normal posterior is exact.

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

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        return dist.Normal(self.loc, self.scale).to_event(1)


class Laplace(_Elementwise):
    r"""Laplace prior: most dimensions of a draw are near zero, and a few are far from it.

    $$p(z) = \prod_{d=1}^{D} \tfrac{1}{2} e^{-|z_d|}$$

    Use it for sparse codes, and to align factors with axes: unlike the Normal it is not
    rotation invariant.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    References:
        Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models
        (Shi et al., 2019, section 4), https://arxiv.org/abs/1911.03393

    Example:
        >>> Laplace(latent_dim=2)().log_prob(torch.zeros(2))
        tensor(-1.3863)
    """

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        return dist.Laplace(self.loc, self.scale).to_event(1)


class StudentT(_Elementwise):
    r"""Student's t prior, whose heavy tails allow unusual images far from the origin.

    $$p(z) = \prod_{d=1}^{D} \frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac{\nu}{2})
    \sqrt{\pi \nu}} \left(1 + \frac{z_d^2}{\nu}\right)^{-(\nu + 1) / 2}$$

    Use it where a Normal prior pulls the posteriors too close together.

    Args:
        latent_dim: number of latent dimensions D, at least 1.
        df: degrees of freedom $\nu$, positive.

    Raises:
        ValueError: if `df` is not positive and finite.

    References:
        Variational Auto-Encoders with Student's t-Prior (Abiri and Ohlsson, 2019),
        https://arxiv.org/abs/2004.02581

    Example:
        >>> StudentT(latent_dim=2, df=1.0)().log_prob(torch.zeros(2))
        tensor(-2.2895)
    """

    def __init__(self, latent_dim: int = 128, df: float = 5.0) -> None:
        super().__init__(latent_dim)
        self.df = positive("df", df)

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        return distributions.StudentT(self.df * self.scale, self.loc, self.scale).to_event(1)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"latent_dim={self.latent_dim}, df={self.df}"
