"""Normal posteriors, of independent and of dependent dimensions."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.posteriors.base import Posterior

__all__ = ["DiagonalNormal"]


class DiagonalNormal(Posterior):
    r"""Normal posterior with independent dimensions.

    $$q(z \mid h) = \prod_{d=1}^{D} \mathcal{N}(z_d \mid \mu_d, \sigma_d^2), \quad
    \log \sigma_d = 7 \tanh(s_d / 7)$$

    where $(\mu, s)$ are the two halves of h. The scale lies between 9e-4 and 1,100 and the
    location between -1e4 and 1e4, so that no input, infinite ones included, gives a NaN.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, equation 9),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> posterior = DiagonalNormal(latent_dim=2)
        >>> q = posterior(torch.zeros(5, posterior.num_params))
        >>> q.batch_shape, q.event_shape
        (torch.Size([5]), torch.Size([2]))
    """

    LOG_SCALE_LIMIT = 7.0
    LOC_LIMIT = 1e4

    def __init__(self, latent_dim: int = 128) -> None:
        super().__init__(latent_dim)

    @property
    def num_params(self) -> int:
        """Two numbers a dimension: location and raw log scale."""
        return 2 * self.latent_dim

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, 2 D)`: batch shape `*`."""
        loc, raw = h.chunk(2, dim=-1)
        scale = (self.LOG_SCALE_LIMIT * torch.tanh(raw / self.LOG_SCALE_LIMIT)).exp()
        return dist.Normal(loc.clamp(-self.LOC_LIMIT, self.LOC_LIMIT), scale).to_event(1)

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder's output h that gives this location and scale, each `(*, D)`.

        A scale beyond the limits becomes the nearest that is well inside.
        """
        share = (scale.log() / self.LOG_SCALE_LIMIT).clamp(-0.99, 0.99)
        return torch.cat([loc, self.LOG_SCALE_LIMIT * torch.atanh(share)], dim=-1)
