"""Mixtures of any family."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Mixture"]


class Mixture(dist.MixtureSameFamily):
    """A mixture whose components may be flows that depend on the component.

    torch's own shows all components the same value with a dimension of length 1, which
    networks that take a context for each component cannot broadcast. Components that are
    diagonal Normals are scored by matrix products, some ten times as fast as one by one.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values, the event dimensions last."""
        parts = self.component_distribution
        base = getattr(parts, "base_dist", None)
        if isinstance(base, torch.distributions.Normal) and base.loc.dim() == 2:
            if self._validate_args:
                self._validate_sample(value)
            log_prob = _under_diagonal_normals(value, base.loc, base.scale)
        else:
            shown = value.unsqueeze(-1 - len(parts.event_shape))
            whole = torch.broadcast_shapes(shown.shape, parts.batch_shape + parts.event_shape)
            log_prob = parts.log_prob(shown.expand(whole))
        return (log_prob + self.mixture_distribution.logits).logsumexp(-1)


def _under_diagonal_normals(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log densities `(*, K)` of values `(*, D)` under K Normals, each `(K, D)`."""
    # The square is multiplied out, which cancels digits: doubles, where the device has them.
    wide = value.dtype if value.device.type == "mps" else torch.float64
    centre = loc.mean(0)
    z, loc = (value - centre).to(wide), (loc - centre).to(wide)
    precision = scale.to(wide) ** -2
    squares = z.square() @ precision.T - 2 * z @ (precision * loc).T
    constant = scale.to(wide).log().sum(-1) + loc.shape[-1] * math.log(2 * math.pi) / 2
    constant = constant + (precision * loc.square()).sum(-1) / 2
    return (-squares / 2 - constant).to(value.dtype)
