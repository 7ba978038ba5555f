"""Fully connected and convolutional encoders and decoders with gated layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyrovae.networks.base import Decoder, Encoder, ImageShape, apply_layers, enlarge
from pyrovae.networks.trunks import Step, dense_layers, image_layers, latent_layers

__all__ = ["GatedConvDecoder", "GatedConvEncoder", "GatedMLPDecoder", "GatedMLPEncoder"]


class GatedMLPEncoder(Encoder):
    r"""Fully connected gated layers on the flattened image.

    Each layer computes two vectors, one of which gates the other:

    $$h(x) \odot \sigma(g(x))$$

    The weights of gated layers are initialised with variance 2 / (number of inputs), as in the
    code of the VampPrior paper. Each layer then keeps about three quarters of the scale of its
    input; with PyTorch's default initialisation it keeps less than a third.

    Use it for small grey images, to compare with published results of `VampPrior`.

    Args:
        image_shape: `(C, H, W)` of the images.
        num_outputs: number of outputs per image.
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
    """Fully connected gated layers from the latents to all pixels; see `GatedMLPEncoder`.

    Use it with `GatedMLPEncoder`, which it mirrors.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: number of output maps, which the likelihood determines.
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
    """Gated convolutions, then one linear layer; see `GatedMLPEncoder` for the gates.

    Use it for small grey images, to compare with published results of flows and learned priors;
    its first convolution has stride 1 by default, which is slow on large images.

    Args:
        image_shape: `(C, H, W)` of the images; odd sizes are rounded up when halved.
        num_outputs: number of outputs per image.
        channels: output channels of each convolution, from the image inwards.
        strides: stride of each convolution, 1 or 2; 2 halves the size.
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
    """Gated transposed convolutions up to the image size; see `GatedMLPEncoder` for the gates.

    Use it with `GatedConvEncoder`, which it mirrors.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: number of output maps, which the likelihood determines.
        channels: input channels of each transposed convolution, from the latent outwards.
        strides: stride of each transposed convolution, 1 or 2; 2 doubles the size.
        kernel_size: height and width of each transposed convolution, odd.

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

        def output(channels: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, num_maps, 1)]

        sizes, blocks = (image_shape, latent_dim, channels), (step_out, output)
        layers = latent_layers(*sizes, *blocks, strides=strides, first=_dense)
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""
        return apply_layers(self.layers, z, 1)


def _gated(
    layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, num_inputs: float, dim: int
) -> list[nn.Module]:
    """A layer of twice the width, whose second half gates the first."""
    nn.init.normal_(layer.weight, std=math.sqrt(2 / num_inputs))
    return [layer, nn.GLU(dim)]


def _dense(before: int, after: int) -> list[nn.Module]:
    return _gated(nn.Linear(before, 2 * after), before, dim=-1)


def _check_convolutions(channels: Sequence[int], strides: Sequence[int], kernel_size: int) -> None:
    if len(channels) != len(strides):
        raise ValueError(
            f"strides must have the length of channels, got {len(strides)} and {len(channels)}"
        )
    if not {*strides} <= {1, 2}:
        raise ValueError(f"strides must be 1 or 2, got {list(strides)}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
