"""What encoders and decoders are, and what several of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError, cannot_start

__all__ = [
    "Decoder",
    "Encoder",
    "ImageShape",
    "LinearShortcut",
    "ShortcutNetwork",
    "apply_layers",
    "check_widths",
    "enlarge",
    "halvings",
]

ImageShape = tuple[int, int, int]


class Network(Recorded, nn.Module, ABC):
    """What encoders and decoders may do beside `forward`.

    Attributes:
        couples_batch: whether its output for an image depends on the others of the batch.
    """

    couples_batch: bool = False

    def check_start(self) -> None:
        """Raises `InputError` if `start_linear` is not possible."""
        raise cannot_start(self, "it has no start_linear")

    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Becomes `weight @ x + bias` of the flattened input, to start training from.

        Optional: `ProbabilisticPCA` needs it, and a `check_start` that raises nothing.

        Raises:
            InputError: if it cannot become a linear function.
        """
        self.check_start()


class Encoder(Network):
    """A network from images to the posterior's parameters.

    A constructor takes `image_shape` and `num_outputs`, which follow from data and posterior,
    then whatever else it needs.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""


class Decoder(Network):
    """A network from latents to the likelihood's maps.

    A constructor takes `image_shape`, `latent_dim` and `num_maps`, which follow from data,
    prior and likelihood, then whatever else it needs.
    """

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""


class LinearShortcut(nn.Module):
    """A linear map beside a network, zero at first.

    Its weights are scaled down by the number of inputs. Optimisers such as Adam move every
    weight by about the learning rate at each step, which in a plain layer would move the output
    that many times as far.

    Args:
        num_inputs: n, the length of the vectors it takes.
        num_outputs: the length of the vectors it gives.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.gain = 8 / num_inputs
        self.weight = nn.Parameter(torch.zeros(num_outputs, num_inputs))
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors `(*, num_inputs)` to vectors `(*, num_outputs)`."""
        return nn.functional.linear(self.gain * x, self.weight, self.bias)


class ShortcutNetwork(nn.Module, ABC):
    """Layers and, if wanted, a `LinearShortcut` from their input to their output.

    Args:
        layers: what is applied in turn; the last is linear.
        num_inputs: how many numbers go in, for one image.
        num_outputs: how many come out.
        shortcut: whether there is a shortcut.
    """

    def __init__(
        self, layers: Iterable[nn.Module], num_inputs: int, num_outputs: int, shortcut: bool
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = LinearShortcut(num_inputs, num_outputs) if shortcut else None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Gives `run` its number of event dimensions."""

    def run(self, x: Tensor, event_dim: int) -> Tensor:
        """The sum of layers and shortcut, at an input of so many dimensions after the batch's."""
        h = apply_layers(self.layers, x, event_dim)
        if self.shortcut is None:
            return h
        return h + self.shortcut(x.flatten(-event_dim)).reshape(h.shape)

    def check_start(self) -> None:
        """Raises `InputError` if it has no shortcut."""
        if self.shortcut is None:
            raise InputError(
                "ProbabilisticPCA starts from linear shortcuts: set --encoder.shortcut true "
                "and --decoder.shortcut true"
            )

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Becomes `weight @ x + bias`, to start training from; the layers become zero.

        Raises:
            InputError: if it has no shortcut.
        """
        self.check_start()
        assert self.shortcut is not None
        self.shortcut.weight.copy_(weight / self.shortcut.gain)
        self.shortcut.bias.copy_(bias)
        for parameter in self.layers[-1].parameters():
            parameter.zero_()


def apply_layers(layers: nn.Module, x: Tensor, event_dim: int) -> Tensor:
    """Applies layers that take one batch dimension to a tensor with any number of them."""
    batch, event = x.shape[:-event_dim], x.shape[-event_dim:]
    y = layers(x.reshape(-1, *event))
    return y.reshape(*batch, *y.shape[1:])


def check_widths(name: str, widths: Sequence[int]) -> list[int]:
    """A copy of a list of layers' widths.

    Raises:
        ValueError: if it is empty, or a width is not positive.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"{name} must be a list of positive numbers, got {list(widths)}")
    return list(widths)


def halvings(image_shape: ImageShape, depth: int, name: str = "channels") -> list[tuple[int, int]]:
    """The sizes of an image halved `depth` times, rounded up, the whole image first.

    Raises:
        ValueError: if the image cannot be halved that often; it says that `name` asks for it.
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
    """A transposed convolution from a size to `stride` times that, or less by under a stride."""
    extra = [t - stride * (s - 1) - 1 for s, t in zip(size, target, strict=True)]
    padding, more = kernel_size // 2, (extra[0], extra[1])
    return nn.ConvTranspose2d(before, after, kernel_size, stride, padding, more, bias=bias)
