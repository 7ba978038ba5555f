"""Normal posteriors with independent or dependent dimensions."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import distributions
from pyrovae.distributions.constraints import at_least, bounded_log
from pyrovae.posteriors.base import LocationScale

__all__ = ["DiagonalNormal", "FullRankNormal", "LowRankNormal"]


class DiagonalNormal(LocationScale):
    r"""Normal posterior with independent dimensions.

    $$q(z \mid h) = \prod_{d=1}^{D} \mathcal{N}(z_d \mid \mu_d, \sigma_d^2), \quad
    \log \sigma_d = 7 \tanh(s_d / 7)$$

    where $(\mu, s)$ are the two halves of h. The scale lies between 9e-4 and 1,100 and the
    location between -1e4 and 1e4, so that no input gives a NaN, not even an infinite one.

    Use it first: it is the cheapest, and its KL with a Normal prior is exact.

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

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, 2 D)`: batch shape `*`."""
        return dist.Normal(*self.location_and_scale(h)).to_event(1)

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder output h for this location and scale, each `(*, D)`.

        A scale beyond the limits is clamped to a value well inside of them.
        """
        return torch.cat([loc, bounded_log(scale, self.LOG_SCALE_LIMIT)], dim=-1)


class FullRankNormal(LocationScale):
    r"""Normal posterior with a full covariance matrix per image.

    $$q(z \mid h) = \mathcal{N}(z \mid \mu, L L^T), \quad L = \operatorname{diag}(\sigma)\,
    (I + R), \quad \log \sigma_d = 7 \tanh(s_d / 7)$$

    where R is strictly lower triangular with entries $30 \tanh(r / (30 \sqrt D))$, and
    $(\mu, s, r)$ are the parts of h. The factor $\sqrt D$ keeps L well conditioned at any D for
    outputs h of untrained networks. Two dimensions can correlate up to 0.999. Within that limit
    the family contains the exact posterior of a linear decoder, which the diagonal family does
    not.

    Use it for up to a few hundred dimensions, to measure what a diagonal covariance loses. The
    last layer of the encoder has D (D + 3) / 2 outputs.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    References:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende
        et al., 2014, section 4.3), https://arxiv.org/abs/1401.4082

    Example:
        >>> posterior = FullRankNormal(latent_dim=3)
        >>> posterior(torch.randn(5, posterior.num_params)).covariance_matrix.shape
        torch.Size([5, 3, 3])
    """

    ENTRY_LIMIT = 30.0

    rows: Tensor
    columns: Tensor

    def __init__(self, latent_dim: int = 128) -> None:
        super().__init__(latent_dim)
        rows, columns = torch.tril_indices(latent_dim, latent_dim, -1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    @property
    def num_params(self) -> int:
        """Location, raw log scale, and the entries of R row by row."""
        return 2 * self.latent_dim + len(self.rows)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, num_params)`: batch shape `*`."""
        loc, scale = self.location_and_scale(h[..., : 2 * self.latent_dim])
        entries = h[..., 2 * self.latent_dim :] / math.sqrt(self.latent_dim)
        entries = self.ENTRY_LIMIT * torch.tanh(entries / self.ENTRY_LIMIT)
        unit = torch.eye(self.latent_dim, dtype=h.dtype, device=h.device)
        unit = unit.repeat(*h.shape[:-1], 1, 1)
        unit[..., self.rows, self.columns] = entries
        return distributions.MultivariateNormal(loc, scale_tril=scale.unsqueeze(-1) * unit)

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder output h for this location and scale, each `(*, D)`, and R = 0."""
        entries = loc.new_zeros(*loc.shape[:-1], len(self.rows))
        return torch.cat([loc, bounded_log(scale, self.LOG_SCALE_LIMIT), entries], dim=-1)


class LowRankNormal(LocationScale):
    r"""Normal posterior whose covariance is a diagonal plus a low-rank matrix.

    $$q(z \mid h) = \mathcal{N}\left(z \mid \mu, \operatorname{diag}(\sigma)\,
    (I + F F^T) \operatorname{diag}(\sigma)\right), \quad \log \sigma_d = 7 \tanh(s_d / 7)$$

    where F is a $D \times R$ matrix with entries $3 \tanh(f / 3)$, and $(\mu, s, f)$ are the
    parts of h.

    Use it where `FullRankNormal` has too many parameters: a few directions of joint variation are
    often enough.

    Args:
        latent_dim: number of latent dimensions D, at least 1.
        rank: number of columns R of F, at least 1.

    Raises:
        ValueError: if a number is not positive.

    References:
        Gaussian Variational Approximation with a Factor Covariance Structure (Ong et al., 2018,
        section 2), https://arxiv.org/abs/1701.03208

    Example:
        >>> posterior = LowRankNormal(latent_dim=3, rank=1)
        >>> posterior.num_params
        9
        >>> posterior(torch.zeros(5, 9)).covariance_matrix.shape
        torch.Size([5, 3, 3])
    """

    ENTRY_LIMIT = 3.0

    def __init__(self, latent_dim: int = 128, rank: int = 4) -> None:
        super().__init__(latent_dim)
        self.rank = at_least("rank", rank, 1)

    @property
    def num_params(self) -> int:
        """Location, raw log scale, and the entries of F row by row."""
        return (2 + self.rank) * self.latent_dim

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, num_params)`: batch shape `*`."""
        loc, scale = self.location_and_scale(h[..., : 2 * self.latent_dim])
        entries = h[..., 2 * self.latent_dim :].unflatten(-1, (self.latent_dim, self.rank))
        entries = self.ENTRY_LIMIT * torch.tanh(entries / self.ENTRY_LIMIT)
        factor = scale.unsqueeze(-1) * entries
        return distributions.LowRankMultivariateNormal(loc, factor, scale.square())

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder output h for this location and scale, each `(*, D)`, and a small F.

        F is not zero, where it has no gradient. Its columns differ, since equal columns would get
        equal gradients.
        """
        turn = torch.arange(self.latent_dim, device=loc.device) % self.rank
        entries = 0.01 * nn.functional.one_hot(turn, self.rank).to(loc).flatten()
        raw_scale = bounded_log(scale, self.LOG_SCALE_LIMIT)
        return torch.cat([loc, raw_scale, entries.expand(*loc.shape[:-1], -1)], dim=-1)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"latent_dim={self.latent_dim}, rank={self.rank}"
