"""Densities of pixels in [0, 1]."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.likelihoods.base import DensityLikelihood, positive

__all__ = ["Normal", "SharedScaleNormal"]


class Normal(DensityLikelihood):
    r"""Normal likelihood with one fixed scale.

    $$\log p(x \mid h) = -\frac{1}{2\sigma^2} \lVert x - h \rVert^2 - n \log(\sigma\sqrt{2\pi})$$

    for the n pixels (times channels) of an image in [0, 1]. A squared error averaged over the
    n pixels plus w KL, as many VAE codes have it, is this ELBO with $\sigma^2 = w n / 2$.

    Args:
        scale: the standard deviation, positive.

    Raises:
        ValueError: if `scale` is not positive and finite.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, appendix C.2),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> likelihood = Normal(scale=0.5)
        >>> likelihood(torch.zeros(2, 3, 8, 8)).event_shape
        torch.Size([3, 8, 8])
    """

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def num_maps(self, channels: int) -> int:
        """One map a channel: the mean."""
        return channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, C, H, W)`: batch `*`, event shape `(C, H, W)`."""
        return dist.Normal(h, h.new_tensor(self.scale)).to_event(3)

    def start_at(self, scale: float) -> float:
        """The scale to start from where another would fit better: its own, which is fixed."""
        return self.scale

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"scale={self.scale}"


class SharedScaleNormal(DensityLikelihood):
    r"""Normal likelihood with one scale for all pixels, learned with the networks.

    $$p(x \mid h) = \prod_i \mathcal{N}(x_i \mid h_i, \sigma^2), \quad
    \sigma = 0.001 + \sigma_0 e^{10 a}$$

    The scale finds the balance of rate and distortion that a hand-set weight only guesses. The
    factor 10 lets it follow the residual, which shrinks tenfold within a run, under optimisers
    such as Adam that move every parameter by the same step.

    Args:
        initial_scale: the standard deviation $\sigma_0$ at the start, positive.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.

    References:
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021,
        section 3.1), https://arxiv.org/abs/2006.13202

    Example:
        >>> likelihood = SharedScaleNormal(initial_scale=0.2)
        >>> round(likelihood.scale.item(), 4)
        0.201
    """

    MIN_SCALE = 1e-3
    GAIN = 10.0

    def __init__(self, initial_scale: float = 0.2) -> None:
        super().__init__()
        self.initial_scale = positive("initial_scale", initial_scale)
        self.raw_scale = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """The standard deviation, a tensor of shape `()`."""
        return self.MIN_SCALE + self.initial_scale * (self.GAIN * self.raw_scale).exp()

    def num_maps(self, channels: int) -> int:
        """One map a channel: the mean."""
        return channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, C, H, W)`: batch `*`, event shape `(C, H, W)`."""
        return dist.Normal(h, self.scale).to_event(3)

    @torch.no_grad()
    def start_at(self, scale: float) -> float:
        """Takes this scale, if it is above the floor, to start from; returns what it took."""
        above = max(scale - self.MIN_SCALE, 1e-3 * self.MIN_SCALE)
        self.raw_scale.fill_(math.log(above / self.initial_scale) / self.GAIN)
        return float(self.scale)

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"initial_scale={self.initial_scale}"
