"""Mixtures of any family."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Mixture"]


class Mixture(dist.MixtureSameFamily):
    """A mixture whose components may be flows that depend on the component.

    torch's `MixtureSameFamily` passes a value with a component dimension of length 1, which
    networks with a context per component cannot broadcast. Here the value is expanded. If the
    components are diagonal Normals that a whole batch shares, as in a prior, their log densities
    are matrix products, which are many times as fast.
    """

    _shared: Mixture | None = None

    def expand(self, batch_shape: Any, _instance: Any = None) -> Mixture:
        """The same mixture for a batch; keeps a reference to the mixture that the batch shares."""
        new = super().expand(batch_shape, _instance)
        new._shared = self._shared if self.batch_shape else self
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values whose last dimensions are the event."""
        if self._validate_args:
            self._validate_sample(value)
        one = self._shared or self
        log_prob = one._of_components(value) + one.mixture_distribution.logits
        shape = value.shape[: value.dim() - len(self.event_shape)]
        return log_prob.logsumexp(-1).expand(torch.broadcast_shapes(shape, self.batch_shape))

    def _of_components(self, value: Tensor) -> Tensor:
        """Log densities `(*, K)` under each component."""
        parts = self.component_distribution
        # The matrix products need float64, which MPS lacks.
        if _diagonal_normals(parts) and not self.batch_shape and value.device.type != "mps":
            return _under_diagonal_normals(value, parts.base_dist.loc, parts.base_dist.scale)
        shown = value.unsqueeze(-1 - len(parts.event_shape))
        whole = torch.broadcast_shapes(shown.shape, parts.batch_shape + parts.event_shape)
        return parts.log_prob(shown.expand(whole))


def _diagonal_normals(parts: Any) -> bool:
    return (
        isinstance(parts, torch.distributions.Independent)
        and parts.reinterpreted_batch_ndims == 1
        and type(parts.base_dist) in (dist.Normal, torch.distributions.Normal)
    )


def _under_diagonal_normals(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log densities `(*, K)` of values `(*, D)` under K Normals, each `(K, D)`."""
    # Expanding the square loses digits, hence float64 and values relative to the centre.
    kind, wide = torch.promote_types(value.dtype, loc.dtype), torch.float64
    centre = loc.detach().to(wide).mean(0)
    z, loc, precision = value.to(wide) - centre, loc.to(wide) - centre, scale.to(wide) ** -2
    squares = z.square() @ precision.T - 2 * z @ (precision * loc).T
    constant = scale.to(wide).log().sum(-1) + loc.shape[-1] * math.log(2 * math.pi) / 2
    constant = constant + (precision * loc.square()).sum(-1) / 2
    return (-squares / 2 - constant).to(kind)
