"""Gated encoders and decoders, fully connected and convolutional."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyrovae.networks.base import (
    Decoder,
    Encoder,
    ImageShape,
    apply_layers,
    check_widths,
    enlarge,
    halvings,
)

__all__ = ["GatedConvDecoder", "GatedConvEncoder", "GatedMLPDecoder", "GatedMLPEncoder"]


class GatedMLPEncoder(Encoder):
    r"""Fully connected gated layers on the flattened image.

    Each layer gives two vectors, and one of them says how much of the other passes:

    $$h(x) \odot \sigma(g(x))$$

    Weights of gated layers start with variance 2 / (number of inputs), after He et al., as dense
    ones do in the VampPrior's recipe: each layer then keeps about three quarters of the scale of
    its input, where PyTorch's own start keeps less than a third.

    Use it for small grey images, to compare with the results published for `VampPrior`.

    Args:
        image_shape: `(C, H, W)` of the images.
        num_outputs: how many numbers to give for one image.
        hidden: widths of the hidden layers, from the image inwards.

    Raises:
        ValueError: if a width is not positive.

    References:
        VAE with a VampPrior (Tomczak and Welling, 2018, section 5),
        https://arxiv.org/abs/1705.07120;
        Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017, equation 1),
        https://arxiv.org/abs/1612.08083

    Example:
        >>> GatedMLPEncoder((1, 28, 28), num_outputs=8)(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self, image_shape: ImageShape, num_outputs: int, hidden: Sequence[int] = (300, 300)
    ) -> None:
        super().__init__()
        widths = [math.prod(image_shape), *check_widths("hidden", hidden)]
        self.layers = nn.Sequential(*_dense(widths), nn.Linear(widths[-1], num_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""
        return self.layers(x.flatten(-3))


class GatedMLPDecoder(Decoder):
    """Fully connected gated layers from the latent to all pixels; see `GatedMLPEncoder`.

    Use it with `GatedMLPEncoder`, whose mirror it is.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: how many maps of the image's size to give (the likelihood says).
        hidden: widths of the hidden layers, from the latent outwards.

    Raises:
        ValueError: if a width is not positive.

    References:
        VAE with a VampPrior (Tomczak and Welling, 2018, section 5),
        https://arxiv.org/abs/1705.07120;
        Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017, equation 1),
        https://arxiv.org/abs/1612.08083

    Example:
        >>> GatedMLPDecoder((1, 28, 28), latent_dim=8, num_maps=1)(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 1, 28, 28])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        num_maps: int,
        hidden: Sequence[int] = (300, 300),
    ) -> None:
        super().__init__()
        widths = [latent_dim, *check_widths("hidden", hidden)]
        maps = (num_maps, image_shape[1], image_shape[2])
        outputs = nn.Linear(widths[-1], math.prod(maps))
        self.layers = nn.Sequential(*_dense(widths), outputs, nn.Unflatten(-1, maps))

    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""
        return self.layers(z)


class GatedConvEncoder(Encoder):
    """Gated convolutions and one linear layer; see `GatedMLPEncoder` for the gates.

    Use it for small grey images, to compare with the results published for flows and learned
    priors; it works at full size first, and is slow on large images.

    Args:
        image_shape: `(C, H, W)` of the images; odd sizes are rounded up when halved.
        num_outputs: how many numbers to give for one image.
        channels: output channels of each convolution, from the image inwards.
        strides: 2 for each convolution that halves the size, and 1 for others.
        kernel_size: height and width of each convolution, odd.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not allowed.

    References:
        Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018,
        appendix), https://arxiv.org/abs/1803.05649;
        Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017, equation 1),
        https://arxiv.org/abs/1612.08083

    Example:
        >>> encoder = GatedConvEncoder((1, 28, 28), num_outputs=8, channels=[4, 8], strides=[1, 2])
        >>> encoder(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_outputs: int,
        channels: Sequence[int] = (32, 32, 64, 64),
        strides: Sequence[int] = (1, 2, 1, 2),
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        channels = _check_convolutions(channels, strides, kernel_size)
        height, width = _sizes(image_shape, strides)[-1]
        layers: list[nn.Module] = []
        pairs = itertools.pairwise([image_shape[0], *channels])
        for (before, after), stride in zip(pairs, strides, strict=True):
            conv = nn.Conv2d(before, 2 * after, kernel_size, stride, kernel_size // 2)
            layers += _gated(conv, before * kernel_size**2, dim=1)
        layers += [nn.Flatten(), nn.Linear(channels[-1] * height * width, num_outputs)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""
        return apply_layers(self.layers, x, 3)


class GatedConvDecoder(Decoder):
    """Gated transposed convolutions to image size; see `GatedMLPEncoder` for the gates.

    Use it with `GatedConvEncoder`, whose mirror it is.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: how many maps of the image's size to give (the likelihood says).
        channels: input channels of each transposed convolution, from the latent outwards.
        strides: 2 for each of them that doubles the size, and 1 for others.
        kernel_size: height and width of each, odd.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not allowed.

    References:
        Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018,
        appendix), https://arxiv.org/abs/1803.05649;
        Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017, equation 1),
        https://arxiv.org/abs/1612.08083

    Example:
        >>> decoder = GatedConvDecoder((1, 28, 20), 8, num_maps=1, channels=[8, 4], strides=[2, 1])
        >>> decoder(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 1, 28, 20])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        num_maps: int,
        channels: Sequence[int] = (64, 64, 32, 32),
        strides: Sequence[int] = (2, 1, 2, 1),
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        channels = _check_convolutions(channels, strides, kernel_size)
        sizes = _sizes(image_shape, strides[::-1])[::-1]
        first = (channels[0], *sizes[0])
        layers = [*_dense([latent_dim, math.prod(first)]), nn.Unflatten(-1, first)]
        widths = [*channels, channels[-1]]
        for i, stride in enumerate(strides):
            to = (2 * widths[i + 1], sizes[i], sizes[i + 1])
            conv = enlarge(widths[i], *to, stride, kernel_size)
            layers += _gated(conv, widths[i] * (kernel_size / stride) ** 2, dim=1)
        layers += [nn.Conv2d(widths[-1], num_maps, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""
        return apply_layers(self.layers, z, 1)


def _gated(
    layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, num_inputs: float, dim: int
) -> list[nn.Module]:
    """A layer of twice the width, the second half of which gates the first."""
    nn.init.normal_(layer.weight, std=math.sqrt(2 / num_inputs))
    return [layer, nn.GLU(dim)]


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    pairs = itertools.pairwise(widths)
    return [layer for i, o in pairs for layer in _gated(nn.Linear(i, 2 * o), i, dim=-1)]


def _check_convolutions(
    channels: Sequence[int], strides: Sequence[int], kernel_size: int
) -> list[int]:
    if len(channels) != len(strides):
        raise ValueError(
            f"strides must be as many as channels, got {len(strides)} and {len(channels)}"
        )
    if not {*strides} <= {1, 2}:
        raise ValueError(f"strides must be 1 or 2, got {list(strides)}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
    return check_widths("channels", channels)


def _sizes(image_shape: ImageShape, strides: Sequence[int]) -> list[tuple[int, int]]:
    """The size before each layer and after the last, the whole image first."""
    sizes = halvings(image_shape, list(strides).count(2), "strides")
    return [sizes[n] for n in itertools.accumulate((s == 2 for s in strides), initial=0)]
