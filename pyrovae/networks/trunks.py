"""The trunks that all families of networks share; a family passes its own block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import nn

from pyrovae.networks.base import ImageShape, check_widths, halvings

__all__ = ["Step", "dense_layers", "image_layers", "latent_layers", "step_sizes"]

Layers = Iterable[nn.Module]
Sizes = Sequence[tuple[int, int]]
Strides = Sequence[int] | None


class Step(NamedTuple):
    """One step of a convolutional trunk: channels and sizes before and after it.

    Attributes:
        before: channels that come in.
        after: channels that go out.
        size: height and width that come in.
        target: height and width that go out.
        stride: 2 where the size is halved or doubled, else 1.
    """

    before: int
    after: int
    size: tuple[int, int]
    target: tuple[int, int]
    stride: int


def dense_layers(
    num_inputs: int,
    hidden: Sequence[int],
    num_outputs: int,
    block: Callable[[int, int], Layers],
    *,
    last_first: bool = False,
) -> nn.Sequential:
    """Fully connected layers; the last one is linear.

    Args:
        num_inputs: numbers per image that come in.
        hidden: widths of the hidden layers.
        num_outputs: numbers per image that go out.
        block: returns the layers from one width to the next.
        last_first: whether the weights of the last layer are drawn first, as in the decoders of
            version 0.2; a seed then gives the same weights.

    Raises:
        ValueError: if a width is not positive.
    """
    widths = [num_inputs, *check_widths("hidden", hidden)]
    last = nn.Linear(widths[-1], num_outputs) if last_first else None
    layers = [layer for pair in itertools.pairwise(widths) for layer in block(*pair)]
    return nn.Sequential(*layers, last or nn.Linear(widths[-1], num_outputs))


def image_layers(
    image_shape: ImageShape,
    num_outputs: int,
    channels: Sequence[int],
    block: Callable[[Step], Layers],
    *,
    strides: Sequence[int] | None = None,
    last: Callable[[int], Layers] = lambda channels: [],
) -> list[nn.Module]:
    """Convolutions from the image inwards, then one linear layer.

    Args:
        image_shape: `(C, H, W)` of the images.
        num_outputs: numbers per image that go out.
        channels: channels after each step.
        block: returns the layers of a step.
        strides: the stride of each step; 2 by default.
        last: returns the layers before the linear one, given their number of channels.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.
    """
    channels = check_widths("channels", channels)
    sizes = step_sizes(image_shape, len(channels), strides)
    layers = _applied(block, [image_shape[0], *channels], sizes, strides)
    layers += [*last(channels[-1]), nn.Flatten()]
    return [*layers, nn.Linear(channels[-1] * math.prod(sizes[-1]), num_outputs)]


def latent_layers(
    image_shape: ImageShape,
    latent_dim: int,
    channels: Sequence[int],
    block: Callable[[Step], Layers],
    last: Callable[[int], Layers],
    *,
    strides: Sequence[int] | None = None,
    first: Callable[[int, int], Layers] = lambda before, after: [nn.Linear(before, after)],
) -> list[nn.Module]:
    """One dense layer, then convolutions outwards to the image size.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: numbers per image that come in.
        channels: channels before each step; the last step keeps the number.
        block: returns the layers of a step.
        last: returns the layers from the last step to the output, given their input channels.
        strides: the stride of each step; 2 by default.
        first: returns the dense layer from one width to another.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.
    """
    channels = check_widths("channels", channels)
    sizes = step_sizes(image_shape, len(channels), strides and strides[::-1])[::-1]
    shape = (channels[0], *sizes[0])
    layers = [*first(latent_dim, math.prod(shape)), nn.Unflatten(-1, shape)]
    layers += _applied(block, [*channels, channels[-1]], sizes, strides)
    return [*layers, *last(channels[-1])]


def step_sizes(image_shape: ImageShape, count: int, strides: Strides) -> list[tuple[int, int]]:
    """The sizes from the image inwards: before each step, and after the last one."""
    if strides is None:
        return halvings(image_shape, count)
    sizes = halvings(image_shape, list(strides).count(2), "strides")
    return [sizes[n] for n in itertools.accumulate((s == 2 for s in strides), initial=0)]


def _applied(
    block: Callable[[Step], Layers], channels: Sequence[int], sizes: Sizes, strides: Strides
) -> list[nn.Module]:
    """The layers of all steps."""
    pairs = zip(itertools.pairwise(channels), itertools.pairwise(sizes), strict=True)
    strides = strides or [2] * (len(sizes) - 1)
    steps = [Step(*c, *s, stride) for (c, s), stride in zip(pairs, strides, strict=True)]
    return [layer for step in steps for layer in block(step)]
