"""Mixtures of any family."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Mixture"]


class Mixture(dist.MixtureSameFamily):
    """A mixture whose components may be flows that depend on the component.

    torch's own shows all components the same value with a dimension of length 1, which
    networks that take a context for each component cannot broadcast.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values, the event dimensions last."""
        parts = self.component_distribution
        shown = value.unsqueeze(-1 - len(parts.event_shape))
        whole = torch.broadcast_shapes(shown.shape, parts.batch_shape + parts.event_shape)
        log_prob = parts.log_prob(shown.expand(whole))
        return (log_prob + self.mixture_distribution.logits).logsumexp(-1)
