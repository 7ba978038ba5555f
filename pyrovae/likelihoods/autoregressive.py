"""A likelihood of pixels that depend on each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import distributions
from pyrovae.distributions.autoregressive import least_squares, predicted
from pyrovae.distributions.constraints import bounded_exp
from pyrovae.likelihoods.base import GreyLikelihood
from pyrovae.likelihoods.location import ScaledLikelihood
from pyrovae.utils.errors import InputError

__all__ = ["AutoregressiveLogistic"]

#: Optimisers such as Adam change a parameter by about the learning rate per step. With the factor,
#: coefficients near 1 are reached in some hundred steps.
GAIN = 8.0


class AutoregressiveLogistic(ScaledLikelihood, GreyLikelihood):
    r"""Discretised logistic likelihood of grey values, each given its neighbours before it.

    $$P(x \mid h) = \prod_i P_{\text{logistic}}\left(x_i \mid \mu_i + \textstyle\sum_{j \in N(i)}
    w_{ij} (x_j - \mu_j), s_i\right)$$

    N(i) is the neighbourhood of i: the values of all channels up to R rows above, in columns up to
    R to the left or to the right; in the row of i, those up to R columns to the left; and the
    channels before that of i at the pixel itself. The coefficients $w = 8 v$ are equal at all
    places; v is learned. The decoder returns the location $\mu$ and the map r of the scales
    $s = \sigma e^{6 \tanh(r / 6)}$, where $\sigma = 0.001 + \sigma_0 e^{10 a}$ with a learned
    number a.

    Use it for the best bits per dimension of photographs. It models the texture of an image, so
    the latents do not have to: they encode less detail, and reconstructions are smoother. The
    baseline without latents predicts pixels in the same way. The location $\mu$ is shown as the
    image; `pyrovae sample RUN --noise` draws the texture too. Pixels depend on each other, so none
    can be left out: `Masked` and `pyrovae inpaint` do not support it.

    Args:
        image_shape: `(C, H, W)` of the images.
        reach: R, the number of rows and columns, at least 1 and below the larger side of the
            images. Time grows with its square.
        initial_scale: the scale $\sigma_0$ where r is 0, positive; `ProbabilisticPCA` as the
            start replaces it.

    Raises:
        ValueError: if `reach` or `initial_scale` is not allowed.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017, section 3.1: a decoder with a small
        window), https://arxiv.org/abs/1611.02731

    Example:
        >>> likelihood = AutoregressiveLogistic((3, 8, 8))
        >>> likelihood.num_maps(3), likelihood.coefficients().shape
        (6, torch.Size([3, 3, 3, 5]))
    """

    LOG_SCALE_LIMIT = 6.0

    couples_pixels = True

    causal: Tensor

    def __init__(
        self, image_shape: tuple[int, int, int], reach: int = 2, initial_scale: float = 0.25
    ) -> None:
        super().__init__(initial_scale)
        channels, *sides = image_shape
        if not 1 <= reach < max(sides):
            raise ValueError(
                f"reach must be from 1 to {max(sides) - 1}, below the larger side of the images, "
                f"got {reach}"
            )
        causal = torch.ones(channels, channels, reach + 1, 2 * reach + 1)
        causal[..., reach, reach:] = 0
        causal[..., reach, reach] = torch.ones(channels, channels).tril(-1)
        self.register_buffer("causal", causal, persistent=False)
        self.weight = nn.Parameter(torch.zeros_like(causal))

    def num_maps(self, channels: int) -> int:
        """A location and a scale per channel."""
        return 2 * channels

    def coefficients(self) -> Tensor:
        """The coefficients w, `(C, C, R + 1, 2 R + 1)`; see the distribution's `kernel`."""
        return GAIN * self.weight * self.causal

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, 2 C, H, W)`: batch `*`, event shape `(C, H, W)`."""
        shift, raw = h.chunk(2, -3)
        scale = self.scale() * bounded_exp(raw, self.LOG_SCALE_LIMIT)
        return distributions.AutoregressiveLogistic(shift + 0.5, scale, self.coefficients())

    def baseline(
        self, passes: Callable[[], Iterator[Tensor]], mean: Tensor, variance: Tensor
    ) -> dist.TorchDistribution:
        """Predicts each deviation from the mean by a linear filter, fitted by least squares.

        Args:
            passes: starts a new pass over the observations of the training images, in batches.
            mean: their mean, `(C, H, W)`.
            variance: not used; that of the errors of prediction determines the scales.
        """
        kernel = least_squares((x - mean for x in passes()), self.causal.to(mean))
        square, number = torch.zeros_like(mean, dtype=torch.double), 0
        for x in passes():
            square += (x - mean - predicted(x - mean, kernel)).double().square().sum(0)
            number += len(x)
        independent = super().without_latent(mean, (square / number).float()).base_dist
        return distributions.AutoregressiveLogistic(mean, independent.pixels.scale, kernel)

    def check(self, images: Tensor) -> None:
        """Raises `InputError` if the images have another number of channels."""
        if images.shape[-3] != len(self.weight):
            raise InputError(
                f"likelihood.image_shape: has {len(self.weight)} channels, the images have "
                f"{images.shape[-3]}"
            )
        super().check(images)

    def start_at(self, scale: float) -> float:
        """Sets the initial standard deviation; returns the value that is set."""
        deviation = math.pi / math.sqrt(3)
        return deviation * self.scale.start_at(scale / deviation)

    def maps(self, loc: Tensor) -> Tensor:
        """The maps `(*, 2 C, H, W)` whose location is the images `(*, C, H, W)`."""
        return torch.cat([loc - 0.5, torch.zeros_like(loc)], -3)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"reach={self.weight.shape[-2] - 1}, {super().extra_repr()}"
