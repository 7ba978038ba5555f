"""Laplace posteriors."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions.constraints import bounded_log
from pyrovae.posteriors.base import LocationScale

__all__ = ["Laplace"]


class Laplace(LocationScale):
    r"""Laplace posterior with independent dimensions.

    $$q(z \mid h) = \prod_{d=1}^{D} \frac{1}{2 b_d} e^{-|z_d - \mu_d| / b_d}, \quad
    \log b_d = 7 \tanh(s_d / 7)$$

    where $(\mu, s)$ are the two halves of h.

    Use it with the `Laplace` prior: their KL is exact.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    References:
        Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models
        (Shi et al., 2019, section 4), https://arxiv.org/abs/1911.03393

    Example:
        >>> Laplace(latent_dim=2)(torch.zeros(5, 4)).event_shape
        torch.Size([2])
    """

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, 2 D)`: batch shape `*`."""
        return dist.Laplace(*self.location_and_scale(h)).to_event(1)

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder output h for this mean and standard deviation, each `(*, D)`."""
        raw_scale = bounded_log(scale / math.sqrt(2), self.LOG_SCALE_LIMIT)
        return torch.cat([loc, raw_scale], dim=-1)
