"""The Bernoulli likelihood, and ways to binarise images for it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.likelihoods.location import LocationLikelihood
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError

__all__ = [
    "Bernoulli",
    "Binarization",
    "DynamicBinarization",
    "FixedBinarization",
    "ThresholdBinarization",
]


class Binarization(Recorded, nn.Module, ABC):
    """Maps grey values to the binary pixels that a Bernoulli likelihood scores."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255, any shape, to floats 0 and 1 of that shape."""


def _floats(ones: Tensor) -> Tensor:
    return ones.to(torch.get_default_dtype())


class DynamicBinarization(Binarization):
    """Draws each pixel again in each call; the grey value is the probability of 1.

    Use it to compare with results on dynamically binarised MNIST.

    References:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008,
        section 5); dynamic as in Importance Weighted Autoencoders (Burda et al., 2016, section 5),
        https://arxiv.org/abs/1509.00519
    """

    def forward(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255, any shape, to random floats 0 and 1 of that shape."""
        return _floats(torch.rand(images.shape, device=images.device) * 255 < images)


class FixedBinarization(Binarization):
    """Draws each pixel once: an image always maps to the same binary image.

    The grey value is the probability of 1, as for `DynamicBinarization`. The draw depends only on
    the image and the seed, so it is the same in every epoch, split and run.

    Use it to compare with results on statically binarised images.

    Args:
        seed: the seed of the draws.

    References:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008,
        section 5)
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255, `(*, C, H, W)`, to floats 0 and 1 of that shape."""
        grey = images.long()
        pixels = torch.arange(grey.shape[-3:].numel(), device=grey.device)
        pixels = _scramble(pixels + 1 + (self.seed << 32)).reshape(grey.shape[-3:])  # 0 stays 0
        # One hash per image.
        image = _scramble((grey * pixels).sum((-3, -2, -1), keepdim=True))
        uniform = (_scramble(image ^ pixels) >> 11 & (2**24 - 1)).float() / 2**24
        return _floats(uniform * 255 < grey)


def _scramble(x: Tensor) -> Tensor:
    """A bijective hash of 64-bit integers."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ (x >> shift)) * factor
    return x ^ (x >> 31)


class ThresholdBinarization(Binarization):
    """Maps pixels above a threshold to 1, all others to 0.

    Use it for line drawings and text, or to train on the same images in every epoch.

    Args:
        threshold: the brightest grey value that maps to 0, as a fraction of white, within [0, 1).
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must lie in [0, 1), got {threshold}")
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255, any shape, to floats 0 and 1 of that shape."""
        return _floats(images > 255 * self.threshold)


class Bernoulli(LocationLikelihood):
    r"""Bernoulli likelihood of binary pixels.

    $$\log p(x \mid h) = \sum_i x_i h_i - \log(1 + e^{h_i}), \quad x_i \in \{0, 1\}$$

    It is a probability of binary images only. Grey images must be binarised: for grey values the
    formula is not a density, since it does not integrate to one.

    Use it for images that are binary, or that are binarised again at every step, as in most
    published results on MNIST.

    Args:
        binarization: binarises grey images; None takes images that are binary already (0 and
            255).

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, appendix C.1),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> likelihood = Bernoulli(ThresholdBinarization(0.5))
        >>> x = likelihood.observe(torch.tensor([[[[0, 100, 200]]]], dtype=torch.uint8))
        >>> likelihood(torch.zeros(1, 1, 1, 3)).log_prob(x)
        tensor([-2.0794])
    """

    grey_levels = None
    has_scale = False

    def __init__(self, binarization: Binarization | None = None) -> None:
        super().__init__()
        self.binarization = binarization

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A Bernoulli distribution per pixel, from its log odds."""
        return dist.Bernoulli(logits=loc)

    def observe(self, images: Tensor) -> Tensor:
        """Maps grey values 0 to 255 to binary pixels, floats 0 and 1."""
        return images / 255 if self.binarization is None else self.binarization(images)

    def dequantize(self, images: Tensor) -> Tensor:
        """Returns the images unchanged: binary pixels are discrete."""
        return images

    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """The probability that a pixel is 1."""
        return distribution.mean

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One Bernoulli per pixel, with probabilities clamped to [1e-4, 1 - 1e-4]."""
        return dist.Bernoulli(mean.clamp(1e-4, 1 - 1e-4)).to_event(3)

    def check(self, images: Tensor) -> None:
        """Without binarisation, raises `InputError` unless all pixels are 0 or 255."""
        if self.binarization is None and bool(((images > 0) & (images < 255)).any()):
            raise InputError(
                "Bernoulli scores binary pixels, but the images hold grey values: choose "
                "--likelihood.binarization DynamicBinarization or ThresholdBinarization, "
                "or another likelihood"
            )
