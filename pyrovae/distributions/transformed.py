"""Distributions transformed by invertible maps, and an affine map that needs no solver."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Transform, constraints

__all__ = ["Transformed", "WhiteningInverse"]


class Transformed(dist.TransformedDistribution):
    """A transformed distribution whose `log_prob` of its own draws has gradients.

    The maps cache the inverse of their draws. In torch's `TransformedDistribution`, `sample`
    caches it without gradients, so `log_prob` of these draws gives the maps no gradient.
    """

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws without gradients, `(*sample_shape, *, D)`."""
        drawn = super().sample(sample_shape)
        return drawn.clone() if torch.is_grad_enabled() else drawn


class WhiteningInverse(Transform):
    r"""The map $z = \mu + A^{-1} \epsilon$ with lower triangular A of positive diagonal.

    The density of z needs A only; draws solve a triangular system. Both arguments may have batch
    dimensions, unlike those of Pyro's `LowerCholeskyAffine`.

    Args:
        loc: $\mu$, `(*, D)`.
        whitening: A, `(*, D, D)`.

    Example:
        >>> from pyro.distributions import Normal, TransformedDistribution
        >>> moved = WhiteningInverse(torch.ones(5, 3), 2 * torch.eye(3))
        >>> p = TransformedDistribution(Normal(torch.zeros(3), 1.0).to_event(1), [moved])
        >>> p.batch_shape, p.event_shape
        (torch.Size([5]), torch.Size([3]))
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, loc: Tensor, whitening: Tensor) -> None:
        super().__init__()
        self.loc, self.whitening = loc, whitening

    def _call(self, x: Tensor) -> Tensor:
        solved = torch.linalg.solve_triangular(self.whitening, x.unsqueeze(-1), upper=False)
        return self.loc + solved.squeeze(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.einsum("...ij,...j->...i", self.whitening, y - self.loc)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus the log determinant of A, of the batch shape."""
        volume = self.whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -volume.expand(torch.broadcast_shapes(x.shape, y.shape)[:-1])

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of the results for arguments of a shape."""
        return torch.broadcast_shapes(shape, self.loc.shape, self.whitening.shape[:-1])

    inverse_shape = forward_shape
