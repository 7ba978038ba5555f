"""What a likelihood is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import DiscretizedLogistic
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import cannot_start

__all__ = ["DensityLikelihood", "GreyLikelihood", "Likelihood", "PixelLikelihood"]


def uniform_noise(images: Tensor) -> Tensor:
    """Noise in [0, 1) of the shape of images, on their device: all noise of dequantising.

    The generator of the device draws it, so each process has noise of its own. The order of the
    draws does not depend on the layout of the images in memory.
    """
    return torch.rand(images.shape, device=images.device)


class Likelihood(Recorded, nn.Module, ABC):
    """p(x given h): a module that maps the decoder's maps h to a distribution of images.

    It also owns what depends on the family alone: how 8-bit images become observations, and
    how a distribution is shown as an image.

    Attributes:
        grey_levels: what turns its log density into the log probability of an 8-bit image, as
            a number of levels per unit of x: 256 for a density on [0, 1], 1 for a probability
            of the 256 values, None where neither holds (binary pixels).
        couples_batch: whether its density of an image depends on the others of the batch.
        has_scale: whether its noise has a size, which may be too large or too small; those that
            only have probabilities of binary pixels or of grey values have none.
    """

    grey_levels: int | None
    couples_batch: bool = False
    has_scale: bool = True

    @abstractmethod
    def num_maps(self, channels: int) -> int:
        """How many maps of the image's size the decoder must give for that many channels."""

    @abstractmethod
    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, num_maps, H, W)`: batch `*`, event shape `(C, H, W)`."""

    @abstractmethod
    def observe(self, images: Tensor) -> Tensor:
        """Images of 8-bit grey values `(*, C, H, W)`, any dtype, in the support it scores."""

    @abstractmethod
    def dequantize(self, images: Tensor) -> Tensor:
        """8-bit images as grey values whose `observe` gives an honest bound on bits/dim.

        For a density: images plus uniform noise of one grey level, on [0, 255]; the expected
        log density of these is a lower bound of the log probability of the 8-bit image minus
        the constant (Theis et al., 2016, section 3.1, https://arxiv.org/abs/1511.01844).
        """

    def scored(self, images: Tensor) -> Tensor:
        """8-bit images as training, validation and evaluation score them: dequantised, observed.

        For a density on [0, 1] this is `(k + u) / 256` of grey values k and uniform noise u, drawn
        at each call. All other likelihoods score what `observe` gives.
        """
        return self.observe(self.dequantize(images))

    @abstractmethod
    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """What to show for a distribution: floats in [0, 1], shape `(*, C, H, W)`."""

    @abstractmethod
    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """The baseline: independent pixels with these moments of x, each `(C, H, W)`."""

    @abstractmethod
    def check(self, images: Tensor) -> None:
        """Raises `InputError` if it cannot score such 8-bit images."""

    def start_at(self, scale: float) -> float:
        """Takes this standard deviation of the pixels to start from; returns what it took.

        Optional: `ProbabilisticPCA` needs it. A likelihood of a fixed scale returns its own.

        Raises:
            InputError: if it has no scale.
        """
        raise cannot_start(self, "it has no start_at")

    def maps(self, loc: Tensor) -> Tensor:
        """The maps `(*, num_maps, H, W)` of images `(*, C, H, W)`, a linear function of them.

        By default the maps are the images themselves, as where the map is the location.
        """
        return loc

    def bits_per_dim(self, elbo: float, num_dims: int) -> float | None:
        """Bits per dimension of an ELBO in nats per image, None where it is undefined."""
        if self.grey_levels is None:
            return None
        return (math.log(self.grey_levels) - elbo / num_dims) / math.log(2)


class PixelLikelihood(Likelihood):
    """A likelihood that scores grey values as pixels in [0, 1], and takes any image.

    `forward` must return a distribution whose mean is what to show.
    """

    def observe(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255 as pixels in [0, 1]: divided by 255."""
        return images / 255

    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """The mean, clamped to [0, 1]."""
        return distribution.mean.clamp(0, 1)

    def check(self, images: Tensor) -> None:
        """Any 8-bit image can be scored."""


class DensityLikelihood(PixelLikelihood):
    """A density of pixels in [0, 1], independent given h.

    Training, validation and evaluation score `(k + u) / 256` of grey values k, with new uniform
    noise u at each call of `scored`. So their ELBOs compare. A density gains nothing from exact
    black and white.
    """

    grey_levels = 256

    def dequantize(self, images: Tensor) -> Tensor:
        """Uniform noise of one grey level added, scaled back to [0, 255]."""
        return torch.add(images, uniform_noise(images)).mul_(255 / 256)

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One Normal a pixel, its scale at least that of the noise of dequantising."""
        scale = variance.sqrt().clamp(min=1 / (256 * math.sqrt(12)))
        return dist.Normal(mean, scale).to_event(3)


class GreyLikelihood(PixelLikelihood):
    """A probability of the 256 grey values: bits per dimension are exact."""

    grey_levels = 1

    def dequantize(self, images: Tensor) -> Tensor:
        """The images as they are: grey values are discrete."""
        return images

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One discretised logistic a pixel, its scale that of a grey level or above."""
        scale = variance.sqrt().clamp(min=1 / 256) * (math.sqrt(3) / math.pi)
        return DiscretizedLogistic(mean, scale).to_event(3)
