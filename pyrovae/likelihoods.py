"""Likelihoods p(x | z): modules that turn the decoder's output into a distribution of images."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError

__all__ = [
    "Bernoulli",
    "Binarization",
    "DynamicBinarization",
    "Likelihood",
    "Normal",
    "SharedScaleNormal",
    "ThresholdBinarization",
]


class Likelihood(nn.Module, ABC):
    """p(x given h): a module that maps the decoder's maps h to a distribution of images.

    It also owns what depends on the family alone: how 8-bit images become observations, and
    how a distribution is shown as an image.

    Attributes:
        grey_levels: what turns its log density into the log probability of an 8-bit image, as
            a number of levels per unit of x: 256 for a density on [0, 1], 1 for a probability
            of the 256 values, None where neither holds (binary pixels).
    """

    grey_levels: int | None

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

    @abstractmethod
    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """What to show for a distribution: floats in [0, 1], shape `(*, C, H, W)`."""

    @abstractmethod
    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """The baseline: independent pixels with these moments of x, each `(C, H, W)`."""

    @abstractmethod
    def check(self, images: Tensor) -> None:
        """Raises `InputError` if it cannot score such 8-bit images."""

    def bits_per_dim(self, elbo: float, num_dims: int) -> float | None:
        """Bits per dimension of an ELBO in nats per image, None where it is undefined."""
        if self.grey_levels is None:
            return None
        return (math.log(self.grey_levels) - elbo / num_dims) / math.log(2)


class DensityLikelihood(Likelihood):
    """A likelihood that is a density of pixels in [0, 1], independent given h.

    `forward` must return a distribution whose mean is what to show.
    """

    grey_levels = 256

    def observe(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255 as pixels in [0, 1]: divided by 255."""
        return images / 255

    def dequantize(self, images: Tensor) -> Tensor:
        """Uniform noise of one grey level added, scaled back to [0, 255]."""
        noise = torch.rand(images.shape, device=images.device)
        return (images + noise) * (255 / 256)

    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """The mean, clamped to [0, 1]."""
        return distribution.mean.clamp(0, 1)

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One Normal a pixel; a pixel that never varies gets a scale of one grey level."""
        scale = variance.sqrt().clamp(min=1 / 256)
        return dist.Normal(mean, scale).to_event(3)

    def check(self, images: Tensor) -> None:
        """Any 8-bit image can be scored."""


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
        self.scale = _positive("scale", scale)

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
        self.initial_scale = _positive("initial_scale", initial_scale)
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


class Binarization(nn.Module, ABC):
    """How grey values become the binary pixels that a Bernoulli likelihood scores."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255, any shape, to floats 0 and 1 of that shape."""


class DynamicBinarization(Binarization):
    """Each pixel drawn anew, every time, with the grey value as its probability of being 1.

    References:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008,
        section 5); dynamic as in Importance Weighted Autoencoders (Burda et al., 2016, section 5),
        https://arxiv.org/abs/1509.00519
    """

    def forward(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255, any shape, to random floats 0 and 1 of that shape."""
        return (torch.rand(images.shape, device=images.device) * 255 < images).float()


class ThresholdBinarization(Binarization):
    """Pixels above a threshold are 1.

    Args:
        threshold: the brightest grey value that becomes 0, as a share of white, within [0, 1).
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must lie in [0, 1), got {threshold}")
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255, any shape, to floats 0 and 1 of that shape."""
        return (images > 255 * self.threshold).float()


class Bernoulli(Likelihood):
    r"""Bernoulli likelihood of binary pixels.

    $$\log p(x \mid h) = \sum_i x_i h_i - \log(1 + e^{h_i}), \quad x_i \in \{0, 1\}$$

    It is a probability of binary images only: grey images must be binarised, since scoring grey
    values with this formula gives no density (it does not integrate to one).

    Args:
        binarization: how grey images become binary; None takes images that are binary already
            (0 and 255).

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

    def __init__(self, binarization: Binarization | None = None) -> None:
        super().__init__()
        self.binarization = binarization

    def num_maps(self, channels: int) -> int:
        """One map a channel: the log odds."""
        return channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for log odds h `(*, C, H, W)`: batch `*`, event `(C, H, W)`."""
        return dist.Bernoulli(logits=h).to_event(3)

    def observe(self, images: Tensor) -> Tensor:
        """Grey values 0 to 255 as binary pixels, floats 0 and 1."""
        return images / 255 if self.binarization is None else self.binarization(images)

    def dequantize(self, images: Tensor) -> Tensor:
        """The images as they are: binary pixels are discrete."""
        return images

    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """The probability that a pixel is 1."""
        return distribution.mean

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One Bernoulli a pixel; a pixel that never varies may still, once in 10,000 images."""
        return dist.Bernoulli(mean.clamp(1e-4, 1 - 1e-4)).to_event(3)

    def check(self, images: Tensor) -> None:
        """Without binarisation, raises `InputError` unless all pixels are 0 or 255."""
        if self.binarization is None and bool(((images > 0) & (images < 255)).any()):
            raise InputError(
                "Bernoulli scores binary pixels, but the images hold grey values: choose "
                "--likelihood.binarization DynamicBinarization or ThresholdBinarization, "
                "or another likelihood"
            )


def _positive(name: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return value
