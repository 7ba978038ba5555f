"""Distributions transformed by invertible maps."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Transformed"]


class Transformed(dist.TransformedDistribution):
    """A transformed distribution whose `log_prob` of its own draws has gradients.

    The maps cache the inverse of their draws. In torch's `TransformedDistribution`, `sample`
    caches it without gradients, so `log_prob` of these draws gives the maps no gradient.
    """

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws without gradients, `(*sample_shape, *, D)`."""
        drawn = super().sample(sample_shape)
        return drawn.clone() if torch.is_grad_enabled() else drawn
