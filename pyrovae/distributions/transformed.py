"""Distributions seen through invertible maps."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Transformed"]


class Transformed(dist.TransformedDistribution):
    """A distribution seen through maps that remember what they computed of its draws.

    torch's own remembers that without gradients after `sample`, so that `log_prob` of such draws
    would pass none to the maps.
    """

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws without gradients, `(*sample_shape, *, D)`."""
        drawn = super().sample(sample_shape)
        return drawn.clone() if torch.is_grad_enabled() else drawn
