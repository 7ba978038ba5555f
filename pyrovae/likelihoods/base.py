"""The base classes of likelihoods."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import DiscretizedLogistic, WithOutliers
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import cannot_start

__all__ = ["DensityLikelihood", "GreyLikelihood", "Likelihood", "PixelLikelihood"]


def uniform_noise(images: Tensor) -> Tensor:
    """Uniform noise in [0, 1) for dequantisation, of the shape and on the device of the images.

    The generator of the device draws it, so the noise differs between processes. The order of the
    draws does not depend on the memory layout of the images.
    """
    return torch.rand(images.shape, device=images.device)


class Likelihood(Recorded, nn.Module, ABC):
    """p(x given h): a module that maps the decoder's maps h to a distribution of images.

    It also defines how 8-bit images become observations, and how a distribution is shown as an
    image.

    Attributes:
        grey_levels: the number of grey levels per unit of x, which converts the log density to
            the log probability of an 8-bit image: 256 for a density on [0, 1], 1 for a
            probability of the 256 values, None for binary pixels.
        couples_batch: whether the density of one image depends on the rest of the batch.
        couples_pixels: whether a pixel depends on other pixels given h, so that none can be left
            out.
        leaves_out: whether only some pixels of an image are scored.
        has_scale: whether the noise has a scale, which can be too large or too small. False for
            probabilities of binary pixels or grey values without a scale.
    """

    grey_levels: int | None
    couples_batch: bool = False
    couples_pixels: bool = False
    leaves_out: bool = False
    has_scale: bool = True

    @abstractmethod
    def num_maps(self, channels: int) -> int:
        """The number of maps that the decoder must return for images of that many channels."""

    @abstractmethod
    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, num_maps, H, W)`: batch `*`, event shape `(C, H, W)`."""

    @abstractmethod
    def observe(self, images: Tensor) -> Tensor:
        """Maps 8-bit grey values `(*, C, H, W)`, any dtype, to the support of the distribution."""

    @abstractmethod
    def dequantize(self, images: Tensor) -> Tensor:
        """Dequantised grey values on [0, 255], so that bits per dimension are a bound.

        For a density: images plus uniform noise of one grey level, scaled to [0, 255]. Up to a
        constant, their expected log density is a lower bound of the log probability of the 8-bit
        image (Theis et al., 2016, section 3.1, https://arxiv.org/abs/1511.01844).
        """

    def scored(self, images: Tensor) -> Tensor:
        """The observations that training, validation and evaluation score.

        For a density on [0, 1] this is `(k + u) / 256` for grey values k and uniform noise u, with
        a new draw per call. All other likelihoods score the result of `observe`.
        """
        return self.observe(self.dequantize(images))

    @abstractmethod
    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """The images that represent a distribution: floats in [0, 1], shape `(*, C, H, W)`."""

    def drawn(self, distribution: dist.TorchDistribution) -> Tensor:
        """Images drawn from a distribution: floats in [0, 1], shape `(*, C, H, W)`."""
        return distribution.sample().clamp(0, 1)

    @abstractmethod
    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """The baseline: independent pixels with these moments of x, each `(C, H, W)`."""

    def baseline(
        self, passes: Callable[[], Iterator[Tensor]], mean: Tensor, variance: Tensor
    ) -> dist.TorchDistribution:
        """The distribution without latents; by default, that of `without_latent`.

        A likelihood of dependent pixels fits the dependence to the observations.

        Args:
            passes: starts a new pass over the observations of the training images, in batches.
            mean: their mean, `(C, H, W)`.
            variance: their variance, `(C, H, W)`.
        """
        return self.without_latent(mean, variance)

    @abstractmethod
    def check(self, images: Tensor) -> None:
        """Raises `InputError` if the likelihood cannot score these 8-bit images."""

    def start_at(self, scale: float) -> float:
        """Sets the initial standard deviation of the pixels; returns the value that is set.

        Optional: `ProbabilisticPCA` needs it. A likelihood with a fixed scale returns that scale.

        Raises:
            InputError: if it has no scale.
        """
        raise cannot_start(self, "its scale cannot be set")

    def noise_scale(self) -> Tensor | None:
        """The learned scale of the pixels' noise, of shape `()`; None if there is none."""
        return None

    def fixed_scale(self) -> float | None:
        """The scale of the noise if it is not trained; None if it is trained or there is none.

        By default the standard deviation of a pixel, if neither a parameter nor the decoder
        changes it.
        """
        trained = any(True for _ in self.parameters()) or self.num_maps(1) > 1
        if trained or self.couples_batch or not self.has_scale:
            return None
        maps = torch.full((1, 1, 1), 0.2, device=next((b.device for b in self.buffers()), None))
        try:
            first, *others = (float(self(k * maps).stddev) for k in (1, 2, 4))
        except Exception:  # A user's likelihood may need images of one size, or have no formula.
            return None
        return first if {first} == {*others} and math.isfinite(first) else None

    def maps(self, loc: Tensor) -> Tensor:
        """The decoder maps `(*, num_maps, H, W)` whose location is the images `(*, C, H, W)`.

        They are a linear function of the images; by default the images themselves.
        """
        return loc

    def attach(self, guide: nn.Module, networks: Iterable[nn.Module]) -> None:
        """Receives the guide that encodes the observations, and its networks; ignores them."""

    def num_scored(self, num_dims: int) -> int:
        """How many of the dimensions of an image are scored: all, unless pixels are missing."""
        return num_dims

    def bits_per_dim(self, elbo: float, num_dims: int) -> float | None:
        """Bits per dimension for an ELBO in nats per image; None where undefined."""
        if self.grey_levels is None:
            return None
        return (math.log(self.grey_levels) - elbo / num_dims) / math.log(2)


class PixelLikelihood(Likelihood):
    """A likelihood of pixels in [0, 1], which accepts any 8-bit image.

    The mean of the distribution that `forward` returns is shown as the image.
    """

    def observe(self, images: Tensor) -> Tensor:
        """Divides grey values 0 to 255 by 255."""
        return images / 255

    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """The mean, clamped to [0, 1]."""
        return distribution.mean.clamp(0, 1)

    def check(self, images: Tensor) -> None:
        """Accepts any 8-bit image."""


class DensityLikelihood(PixelLikelihood):
    """A density of pixels in [0, 1], independent given h.

    Training, validation and evaluation score `(k + u) / 256` for grey values k, with new uniform
    noise u per call of `scored`. So their ELBOs are comparable, and exact black and white cannot
    raise the density without bound.
    """

    grey_levels = 256

    def dequantize(self, images: Tensor) -> Tensor:
        """Adds uniform noise of one grey level, and scales to [0, 255]."""
        return torch.add(images, uniform_noise(images)).mul_(255 / 256)

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One Normal per pixel, with outliers, at least as wide as dequantisation noise."""
        scale = variance.sqrt().clamp(min=1 / (256 * math.sqrt(12)))
        return WithOutliers(dist.Normal(mean, scale), 1.0).to_event(3)


class GreyLikelihood(PixelLikelihood):
    """A probability of the 256 grey values: bits per dimension are exact."""

    grey_levels = 1

    def dequantize(self, images: Tensor) -> Tensor:
        """Returns the images unchanged: grey values are discrete."""
        return images

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One discretised logistic per pixel, with outliers, at least one grey level wide."""
        scale = variance.sqrt().clamp(min=1 / 256) * (math.sqrt(3) / math.pi)
        return WithOutliers(DiscretizedLogistic(mean, scale), 1 / 256).to_event(3)
