"""Base classes of encoders and decoders, and helpers that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError, cannot_start

__all__ = [
    "Decoder",
    "Encoder",
    "ImageShape",
    "LinearShortcut",
    "LinearStart",
    "ShortcutNetwork",
    "add_gains",
    "apply_layers",
    "check_widths",
    "enlarge",
    "halvings",
]

ImageShape = tuple[int, int, int]


class LinearStart:
    """A function that `ProbabilisticPCA` can set to a linear one."""

    def check_start(self) -> None:
        """Raises `InputError` if `start_linear` is not possible."""
        raise cannot_start(self, "it has no linear form")

    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Sets the parameters so that the output is `weight @ x + bias`, x being flattened.

        Optional: `ProbabilisticPCA` needs it, and a `check_start` that does not raise.

        Raises:
            InputError: if it cannot become a linear function.
        """
        self.check_start()


class Network(LinearStart, Recorded, nn.Module, ABC):
    """Base of encoders and decoders, with their optional methods.

    Attributes:
        couples_batch: whether the output for one image depends on the rest of the batch.
    """

    couples_batch: bool = False


class Encoder(Network):
    """A network from images to the posterior's parameters.

    The constructor takes `image_shape` and `num_outputs`, which data and posterior determine, and
    any other arguments.
    """

    event_dim = 3

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""


class Decoder(Network):
    """A network from latents to the likelihood's maps.

    The constructor takes `image_shape`, `latent_dim` and `num_maps`, which data, prior and
    likelihood determine, and any other arguments.
    """

    event_dim = 1

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""


class LinearShortcut(nn.Module):
    """A linear map parallel to a network, initialised to zero.

    The weights are divided by the number of inputs. Optimisers such as Adam change every weight
    by about the learning rate per step. Without the division the change of the output would grow
    with the number of inputs.

    Args:
        num_inputs: length of the input vectors.
        num_outputs: length of the output vectors.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.gain = 8 / num_inputs
        self.weight = nn.Parameter(torch.zeros(num_outputs, num_inputs))
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors `(*, num_inputs)` to vectors `(*, num_outputs)`."""
        return nn.functional.linear(self.gain * x, self.weight, self.bias)

    @torch.no_grad()
    def start(self, weight: Tensor, bias: Tensor, last: nn.Module) -> None:
        """Becomes `weight @ x + bias`; sets the last layer of the parallel network to zero."""
        self.weight.copy_(weight / self.gain)
        self.bias.copy_(bias)
        for parameter in last.parameters():
            parameter.zero_()


class ShortcutNetwork(nn.Module):
    r"""Layers with an optional `LinearShortcut` from their input to their output.

    With a shortcut, the output of the last layer is multiplied by $2 / \sqrt{n}$ for n inputs.
    `ProbabilisticPCA` sets the weights of this layer to zero, and the first step of an optimiser
    such as Adam changes each of them by the learning rate. The changes of n weights add up:
    without the factor, the first steps lead away from the linear model, the farther the larger
    the images.

    List it first among the base classes of an encoder or decoder.

    Args:
        layers: the layers in order; the last one is linear.
        num_inputs: numbers per image that come in.
        num_outputs: numbers per image that go out.
        shortcut: whether there is a shortcut.

    Attributes:
        event_dim: the number of dimensions of one input.
        gain: the factor of the output of the layers; 1 in runs of version 0.2.
    """

    event_dim: int
    gain: Tensor

    def __init__(
        self, layers: Iterable[nn.Module], num_inputs: int, num_outputs: int, shortcut: bool
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = LinearShortcut(num_inputs, num_outputs) if shortcut else None
        if shortcut:
            last = self.layers[-1]
            assert isinstance(last.weight, Tensor)
            self.register_buffer("gain", torch.tensor(2 * last.weight[0].numel() ** -0.5))
            with torch.no_grad():
                for parameter in last.parameters():
                    parameter.div_(self.gain)  # The function stays the same.

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        add_gains(state_dict, [f"{prefix}gain"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """The output for inputs of `event_dim` dimensions."""
        h = apply_layers(self.layers, x, self.event_dim)
        if self.shortcut is None:
            return h
        return self.gain * h + self.shortcut(x.flatten(-self.event_dim)).reshape(h.shape)

    def check_start(self) -> None:
        """Raises `InputError` if it has no shortcut."""
        if self.shortcut is None:
            raise InputError(
                "ProbabilisticPCA starts from linear shortcuts: set --encoder.shortcut true "
                "and --decoder.shortcut true (shortcut=True in Python)"
            )

    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Sets the shortcut to `weight @ x + bias`, and the last layer to zero.

        Raises:
            InputError: if it has no shortcut.
        """
        self.check_start()
        assert self.shortcut is not None
        self.shortcut.start(weight, bias, self.layers[-1])


def add_gains(weights: dict[str, Tensor], names: Iterable[str]) -> None:
    """Adds the gain 1 of each `ShortcutNetwork` that version 0.2 saved, which has none.

    Args:
        weights: tensors by name; changed in place.
        names: the names of the tensors of the programs, such as `guide.encoder.gain`.
    """
    for name in names:
        if name.endswith("gain") and f"{name.removesuffix('gain')}shortcut.weight" in weights:
            weights.setdefault(name, torch.ones(()))


def apply_layers(layers: nn.Module, x: Tensor, event_dim: int) -> Tensor:
    """Applies layers for one batch dimension to a tensor with any number of batch dimensions."""
    batch, event = x.shape[:-event_dim], x.shape[-event_dim:]
    y = layers(x.reshape(-1, *event))
    return y.reshape(*batch, *y.shape[1:])


def check_widths(name: str, widths: Sequence[int]) -> list[int]:
    """Returns the widths of layers as a list.

    Raises:
        ValueError: if there are none, or a width is not positive.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"{name} must be a list of positive numbers, got {list(widths)}")
    return list(widths)


def halvings(image_shape: ImageShape, depth: int, name: str = "channels") -> list[tuple[int, int]]:
    """The sizes of an image halved 0 to `depth` times, rounded up.

    Args:
        image_shape: `(C, H, W)` of the image.
        depth: number of halvings.
        name: the argument that determines the depth, for the error message.

    Raises:
        ValueError: if the image cannot be halved that often.
    """
    sizes = [(image_shape[1], image_shape[2])]
    for _ in range(depth):
        height, width = sizes[-1]
        if max(height, width) < 2:
            raise ValueError(
                f"images of {image_shape[1]}x{image_shape[2]} can be halved "
                f"{len(sizes) - 1} times, but {name} asks for {depth}: shorten the list"
            )
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def enlarge(
    before: int,
    after: int,
    size: tuple[int, int],
    target: tuple[int, int],
    stride: int = 2,
    kernel_size: int = 3,
    bias: bool = True,
) -> nn.ConvTranspose2d:
    """A transposed convolution from `size` to `target`.

    Each target is at most `stride` times the size, and less than one stride below that.
    """
    extra = [t - stride * (s - 1) - 1 for s, t in zip(size, target, strict=True)]
    padding, more = kernel_size // 2, (extra[0], extra[1])
    return nn.ConvTranspose2d(before, after, kernel_size, stride, padding, more, bias=bias)
