"""A user's own likelihood, on a scale of its own: Poisson counts."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import Likelihood

#: Grey values per count.
STEP = 10


class Poisson(Likelihood):
    """Counts from 0 to 25."""

    grey_levels = 1
    has_scale = False

    def num_maps(self, channels: int) -> int:
        return channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        return dist.Poisson(torch.nn.functional.softplus(h) + 0.01).to_event(3)

    def observe(self, images: Tensor) -> Tensor:
        return (images / STEP).floor()

    def dequantize(self, images: Tensor) -> Tensor:
        return images

    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        return (distribution.mean * STEP / 255).clamp(0, 1)

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        return dist.Poisson(mean.clamp(min=0.01)).to_event(3)

    def check(self, images: Tensor) -> None:
        pass
