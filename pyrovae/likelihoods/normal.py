"""Normal likelihoods with a fixed, shared, optimal or pixelwise scale."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import BatchScaleNormal
from pyrovae.distributions.constraints import bounded_exp, positive
from pyrovae.likelihoods.base import DensityLikelihood
from pyrovae.likelihoods.location import (
    LearnedScaleLikelihood,
    LocationLikelihood,
    ScaledLikelihood,
)

__all__ = ["Normal", "OptimalScaleNormal", "PixelwiseNormal", "SharedScaleNormal"]


class Normal(LocationLikelihood, DensityLikelihood):
    r"""Normal likelihood with one fixed scale.

    $$\log p(x \mid h) = -\frac{1}{2\sigma^2} \lVert x - h \rVert^2 - n \log(\sigma\sqrt{2\pi})$$

    for an image in [0, 1] with n pixels times channels. The common loss "mean squared error over
    the n pixels plus w KL" is this negative ELBO with $\sigma^2 = w n / 2$, up to a factor and a
    constant.

    Use it to set the balance of rate and distortion by hand, or to repeat results with a fixed
    scale.

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

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A Normal distribution per pixel, with the fixed scale."""
        return dist.Normal(loc, loc.new_full((), self.scale))

    def start_at(self, scale: float) -> float:
        """Returns the fixed scale, which the argument does not change."""
        return self.scale

    def fixed_scale(self) -> float:
        """The scale."""
        return self.scale

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"scale={self.scale}"


class SharedScaleNormal(LearnedScaleLikelihood, DensityLikelihood):
    r"""Normal likelihood with one scale for all pixels, trained with the networks.

    $$p(x \mid h) = \prod_i \mathcal{N}(x_i \mid h_i, \sigma^2), \quad
    \sigma = 0.001 + \sigma_0 e^{10 a}$$

    Use it first: training finds the balance of rate and distortion, so no weight has to be tuned.

    Args:
        initial_scale: the standard deviation $\sigma_0$ at the start, positive;
            `ProbabilisticPCA` as the start replaces it.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.

    References:
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021,
        section 3.1), https://arxiv.org/abs/2006.13202

    Example:
        >>> likelihood = SharedScaleNormal(initial_scale=0.2)
        >>> round(likelihood.scale().item(), 4)
        0.201
    """

    def __init__(self, initial_scale: float = 0.2) -> None:
        super().__init__(initial_scale)

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A Normal distribution per pixel, with the learned scale."""
        return dist.Normal(loc, self.scale())


class OptimalScaleNormal(LocationLikelihood, DensityLikelihood):
    r"""Normal likelihood whose scale maximises the likelihood of the batch.

    $$p(x \mid h) = \prod_i \mathcal{N}(x_i \mid h_i, \sigma^2), \quad
    \sigma^2 = \frac{1}{B n} \sum_{b, i} (x_{bi} - h_{bi})^2$$

    over the B images of a training batch and their n pixels. So the scale needs no parameter. But
    it depends on the scored images, so the result is not a density. In evaluation mode and for
    draws the scale is therefore constant: the root of the running mean of $\sigma^2$ over
    training.

    Use it like `SharedScaleNormal`, where the scale should follow the residuals immediately.

    Args:
        initial_scale: the standard deviation before the first batch, positive.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.

    References:
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021,
        section 3.2), https://arxiv.org/abs/2006.13202

    Example:
        >>> likelihood = OptimalScaleNormal()
        >>> p = likelihood(torch.zeros(2, 3, 8, 8))
        >>> _ = p.log_prob(torch.full((2, 3, 8, 8), 0.25))
        >>> likelihood.eval()(torch.zeros(3, 8, 8)).stddev[0, 0, 0]
        tensor(0.2500)
    """

    MIN_SCALE = 1e-3
    MEMORY = 100
    couples_batch = True

    mean_square: Tensor
    num_batches: Tensor

    def __init__(self, initial_scale: float = 0.2) -> None:
        super().__init__()
        self.initial_scale = positive("initial_scale", initial_scale)
        self.register_buffer("mean_square", torch.tensor(initial_scale**2))
        self.register_buffer("num_batches", torch.tensor(0))

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A Normal distribution per pixel; the batch sets its scale in training mode."""
        scale = self.noise_scale()
        if self.training:
            return BatchScaleNormal(loc, scale, self._of_batch)
        return dist.Normal(loc, scale)

    @torch.no_grad()
    def _of_batch(self, square: Tensor) -> Tensor:
        """The scale of a batch; updates the running mean of its square."""
        mean = square.mean()
        self.num_batches += 1
        weight = (1 / self.num_batches).clamp(min=1 / self.MEMORY)
        self.mean_square += weight.to(mean) * (mean - self.mean_square)
        return mean.sqrt().clamp(min=self.MIN_SCALE)

    @torch.no_grad()
    def start_at(self, scale: float) -> float:
        """Sets the initial standard deviation; returns the value that is set."""
        self.mean_square.fill_(max(scale, self.MIN_SCALE) ** 2)
        return float(self.mean_square.sqrt())

    def noise_scale(self) -> Tensor:
        """The scale in evaluation mode, of shape `()`."""
        return self.mean_square.sqrt().clamp(min=self.MIN_SCALE)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"initial_scale={self.initial_scale}"


class PixelwiseNormal(ScaledLikelihood, DensityLikelihood):
    r"""Normal likelihood with one scale per pixel, computed by the decoder.

    $$p(x \mid h) = \prod_i \mathcal{N}(x_i \mid \mu_i, \sigma_i^2), \quad
    \sigma_i = \tfrac{1}{256} + \sigma e^{5 \tanh(s_i / 5)}, \quad
    \sigma = 0.001 + \sigma_0 e^{10 a}$$

    where $(\mu, s)$ are the two halves of the maps h and a is learned. The scale is at least one
    grey level: otherwise the density of pixels that hardly vary, such as saturated ones, would
    have no upper bound.

    Use it to see which pixels the decoder is uncertain about; it is harder to train than a shared
    scale.

    Args:
        initial_scale: the standard deviation $\sigma_0$ where s is 0, positive;
            `ProbabilisticPCA` as the start replaces it.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, appendix C.2),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> likelihood = PixelwiseNormal()
        >>> likelihood(torch.zeros(2, likelihood.num_maps(3), 8, 8)).event_shape
        torch.Size([3, 8, 8])
    """

    MIN_SCALE = 1 / 256
    LOG_SCALE_LIMIT = 5.0

    def __init__(self, initial_scale: float = 0.2) -> None:
        super().__init__(initial_scale)

    def num_maps(self, channels: int) -> int:
        """Two maps per channel: the means first, then the raw log scales."""
        return 2 * channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, 2 C, H, W)`: batch `*`, event shape `(C, H, W)`."""
        loc, raw = h.chunk(2, dim=-3)
        scale = self.scale() * bounded_exp(raw, self.LOG_SCALE_LIMIT)
        return dist.Normal(loc, self.MIN_SCALE + scale).to_event(3)

    def start_at(self, scale: float) -> float:
        """Sets the initial standard deviation of all pixels; returns the value that is set."""
        return self.MIN_SCALE + self.scale.start_at(scale - self.MIN_SCALE)

    def maps(self, loc: Tensor) -> Tensor:
        """The maps `(*, 2 C, H, W)` of images `(*, C, H, W)`, with the same scale everywhere."""
        return torch.cat([loc, torch.zeros_like(loc)], -3)
