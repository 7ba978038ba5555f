"""Convolutional encoder and decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from pyrovae.networks.base import Decoder, Encoder, ImageShape, ShortcutNetwork, enlarge
from pyrovae.networks.trunks import Step, image_layers, latent_layers

__all__ = ["ConvDecoder", "ConvEncoder"]


class ConvEncoder(ShortcutNetwork, Encoder):
    """Stride-2 convolutions, each with batch norm and a leaky ReLU, then one linear layer.

    Use it first for images of any kind: it is the fastest convolutional network here.

    Args:
        image_shape: `(C, H, W)` of the images; odd sizes are rounded up when halved.
        num_outputs: number of outputs per image.
        channels: output channels of each convolution, from the image inwards.
        shortcut: adds a linear map from the pixels to the outputs, from which
            `ProbabilisticPCA` can start.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.

    References:
        Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks (Radford et al., 2015), https://arxiv.org/abs/1511.06434

    Example:
        >>> encoder = ConvEncoder((3, 28, 28), num_outputs=8, channels=[4, 8])
        >>> encoder(torch.zeros(5, 2, 3, 28, 28)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_outputs: int,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        shortcut: bool = False,
    ) -> None:
        layers = image_layers(image_shape, num_outputs, channels, _halve)
        super().__init__(layers, math.prod(image_shape), num_outputs, shortcut)


class ConvDecoder(ShortcutNetwork, Decoder):
    """Stride-2 transposed convolutions up to the image size, with batch norm and leaky ReLUs.

    Use it with `ConvEncoder`, which it mirrors.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: number of output maps, which the likelihood determines.
        channels: input channels of each transposed convolution, from the latent outwards.
        shortcut: adds a linear map from the latent to the maps, from which
            `ProbabilisticPCA` can start.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.

    References:
        Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks (Radford et al., 2015), https://arxiv.org/abs/1511.06434

    Example:
        >>> decoder = ConvDecoder((3, 28, 20), latent_dim=8, num_maps=6, channels=[8, 4])
        >>> decoder(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 6, 28, 20])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        num_maps: int,
        channels: Sequence[int] = (512, 256, 128, 64, 32),
        shortcut: bool = False,
    ) -> None:
        def output(channels: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, num_maps, 3, padding=1)]

        layers = latent_layers(image_shape, latent_dim, channels, _double, output)
        num_outputs = num_maps * math.prod(image_shape[1:])
        super().__init__(layers, latent_dim, num_outputs, shortcut)


def _halve(step: Step) -> list[nn.Module]:
    convolution = nn.Conv2d(step.before, step.after, 3, stride=2, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(step.after), nn.LeakyReLU()]


def _double(step: Step) -> list[nn.Module]:
    convolution = enlarge(step.before, step.after, step.size, step.target, bias=False)
    return [convolution, nn.BatchNorm2d(step.after), nn.LeakyReLU()]
