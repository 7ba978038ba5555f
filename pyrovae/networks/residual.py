"""Residual encoder and decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from pyrovae.distributions.constraints import at_least
from pyrovae.networks.base import Decoder, Encoder, ImageShape, ShortcutNetwork
from pyrovae.networks.blocks import ResidualBlock, activate, convolution
from pyrovae.networks.trunks import Step, image_layers, latent_layers

__all__ = ["ResidualDecoder", "ResidualEncoder"]


class ResidualEncoder(ShortcutNetwork, Encoder):
    r"""Residual blocks between stride-2 convolutions, then one linear layer.

    A block adds the output of two convolutions to its input,

    $$x + \text{conv}(\text{SiLU}(\text{norm}(\text{conv}(\text{SiLU}(\text{norm}(x))))))$$

    It starts close to the identity, since its last convolution starts with small weights. All
    other convolutions start with variance 1 / (number of inputs), which preserves the scale
    between blocks. The norm is group norm: groups of at least 8 channels, at most 32 groups, and
    one group below 16 channels. It does not depend on the batch, so training and evaluation
    compute the same function.

    Use it for quality on colour images, or above 32x32 pixels: a step takes about twice as long
    as with `ConvEncoder` and `ConvDecoder`.

    Args:
        image_shape: `(C, H, W)` of the images; odd sizes are rounded up when halved.
        num_outputs: number of outputs per image.
        channels: channels after each halving, from the image inwards.
        blocks: residual blocks at each size.
        shortcut: adds a linear map from the pixels to the outputs, from which
            `ProbabilisticPCA` can start.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016),
        https://arxiv.org/abs/1603.05027;
        Group Normalization (Wu and He, 2018), https://arxiv.org/abs/1803.08494

    Example:
        >>> encoder = ResidualEncoder((3, 28, 28), num_outputs=8, channels=[8, 16])
        >>> encoder(torch.zeros(5, 2, 3, 28, 28)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_outputs: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 1,
        shortcut: bool = False,
    ) -> None:
        def halve(step: Step) -> list[nn.Module]:
            return [convolution(step.before, step.after, stride=2), *_residual(step.after, blocks)]

        layers = image_layers(image_shape, num_outputs, channels, halve, last=activate)
        super().__init__(layers, math.prod(image_shape), num_outputs, shortcut)


class ResidualDecoder(ShortcutNetwork, Decoder):
    """Residual blocks between upsampling layers, up to the image size.

    An upsampling layer repeats pixels, and a convolution follows at the new size. Unlike a
    transposed convolution it causes no checkerboard artifacts. See `ResidualEncoder` for the
    blocks and their norm.

    Use it for quality, with `ResidualEncoder`, which it mirrors.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: number of output maps, which the likelihood determines.
        channels: channels before each doubling, from the latent outwards.
        blocks: residual blocks at each size below the image size.
        shortcut: adds a linear map from the latent to the maps, from which
            `ProbabilisticPCA` can start.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016),
        https://arxiv.org/abs/1603.05027;
        Group Normalization (Wu and He, 2018), https://arxiv.org/abs/1803.08494;
        Deconvolution and Checkerboard Artifacts (Odena et al., 2016),
        https://distill.pub/2016/deconv-checkerboard

    Example:
        >>> decoder = ResidualDecoder((3, 28, 20), latent_dim=8, num_maps=6, channels=[16, 8])
        >>> decoder(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 6, 28, 20])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        num_maps: int,
        channels: Sequence[int] = (256, 128, 64, 32),
        blocks: int = 1,
        shortcut: bool = False,
    ) -> None:
        def double(step: Step) -> list[nn.Module]:
            kept = _residual(step.before, blocks)
            return [*kept, nn.Upsample(step.target), convolution(step.before, step.after)]

        def output(channels: int) -> list[nn.Module]:
            return [*activate(channels), convolution(channels, num_maps)]

        layers = latent_layers(image_shape, latent_dim, channels, double, output)
        num_outputs = num_maps * math.prod(image_shape[1:])
        super().__init__(layers, latent_dim, num_outputs, shortcut)


def _residual(width: int, blocks: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(at_least("blocks", blocks, 1))]
