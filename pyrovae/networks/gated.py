"""Gated encoders and decoders, fully connected and convolutional."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyrovae.networks.base import Decoder, Encoder, ImageShape, apply_layers, enlarge
from pyrovae.networks.trunks import Step, dense_layers, image_layers, latent_layers

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
        self.layers = dense_layers(math.prod(image_shape), hidden, num_outputs, _dense)

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
        self.output_shape = (num_maps, image_shape[1], image_shape[2])
        num_outputs = math.prod(self.output_shape)
        self.layers = dense_layers(latent_dim, hidden, num_outputs, _dense, last_first=True)

    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""
        return self.layers(z).unflatten(-1, self.output_shape)


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
        _check_convolutions(channels, strides, kernel_size)

        def step_in(step: Step) -> list[nn.Module]:
            shape = (kernel_size, step.stride, kernel_size // 2)
            conv = nn.Conv2d(step.before, 2 * step.after, *shape)
            return _gated(conv, step.before * kernel_size**2, dim=1)

        layers = image_layers(image_shape, num_outputs, channels, step_in, strides=strides)
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
        _check_convolutions(channels, strides, kernel_size)

        def step_out(step: Step) -> list[nn.Module]:
            sizes = (step.size, step.target, step.stride, kernel_size)
            conv = enlarge(step.before, 2 * step.after, *sizes)
            return _gated(conv, step.before * (kernel_size / step.stride) ** 2, dim=1)

        layers = latent_layers(
            image_shape,
            latent_dim,
            channels,
            step_out,
            lambda channels: [nn.Conv2d(channels, num_maps, 1)],
            strides=strides,
            first=_dense,
        )
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


def _dense(before: int, after: int) -> list[nn.Module]:
    return _gated(nn.Linear(before, 2 * after), before, dim=-1)


def _check_convolutions(channels: Sequence[int], strides: Sequence[int], kernel_size: int) -> None:
    if len(channels) != len(strides):
        raise ValueError(
            f"strides must be as many as channels, got {len(strides)} and {len(channels)}"
        )
    if not {*strides} <= {1, 2}:
        raise ValueError(f"strides must be 1 or 2, got {list(strides)}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
