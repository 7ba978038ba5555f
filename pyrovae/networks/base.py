"""Encoders and decoders: ordinary networks, tensor to tensor, for any image size.

Every network takes any number of leading batch dimensions, so that vectorised particles and
`Predictive` work, and holds no constraint: those belong to the parts that need them.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyrovae.errors import InputError

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Encoder",
    "LinearShortcut",
    "MLPDecoder",
    "MLPEncoder",
]

ImageShape = tuple[int, int, int]


def _apply(layers: nn.Module, x: Tensor, event_dim: int) -> Tensor:
    """Applies layers that take one batch dimension to a tensor with any number of them."""
    batch, event = x.shape[:-event_dim], x.shape[-event_dim:]
    y = layers(x.reshape(-1, *event))
    return y.reshape(*batch, *y.shape[1:])


def _check_widths(name: str, widths: Sequence[int]) -> list[int]:
    if not widths or min(widths) < 1:
        raise ValueError(f"{name} must be a list of positive numbers, got {list(widths)}")
    return list(widths)


def _halvings(image_shape: ImageShape, depth: int) -> list[tuple[int, int]]:
    """The sizes of an image halved `depth` times, the whole image first."""
    sizes = [(image_shape[1], image_shape[2])]
    for _ in range(depth):
        height, width = sizes[-1]
        if max(height, width) < 2:
            raise ValueError(
                f"images of {image_shape[1]}x{image_shape[2]} can be halved "
                f"{len(sizes) - 1} times, but channels asks for {depth}: shorten the list"
            )
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


class Encoder(nn.Module, ABC):
    """A network from images to the posterior's parameters.

    A constructor takes `image_shape` and `num_outputs`, which follow from data and posterior,
    then whatever else it needs.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""


class Decoder(nn.Module, ABC):
    """A network from latents to the likelihood's maps.

    A constructor takes `image_shape`, `latent_dim` and `num_maps`, which follow from data,
    prior and likelihood, then whatever else it needs.
    """

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""


class ConvEncoder(Encoder):
    """Stride-2 convolutions, each with batch norm and a leaky ReLU, and one linear layer.

    Args:
        image_shape: `(C, H, W)` of the images; odd sizes are rounded up when halved.
        num_outputs: how many numbers to give for one image.
        channels: output channels of each convolution, from the image inwards.
        shortcut: adds a linear map from the pixels to the outputs, from which
            `ProbabilisticPCA` can start.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.

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
        super().__init__()
        channels = _check_widths("channels", channels)
        height, width = _halvings(image_shape, len(channels))[-1]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([image_shape[0], *channels]):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU()]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * height * width, num_outputs)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = (
            LinearShortcut(torch.Size(image_shape).numel(), num_outputs) if shortcut else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""
        h = _apply(self.layers, x, 3)
        return h if self.shortcut is None else h + self.shortcut(x.flatten(-3))

    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Becomes `weight @ x + bias`, to start training from.

        Raises:
            InputError: if it has no shortcut.
        """
        replace_network(self.shortcut, self.layers[-1], weight, bias)


class ConvDecoder(Decoder):
    """The mirror of `ConvEncoder`: stride-2 transposed convolutions to the size of the image.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: how many maps of the image's size to give (the likelihood says).
        channels: input channels of each transposed convolution, from the latent outwards.
        shortcut: adds a linear map from the latent to the maps, from which
            `ProbabilisticPCA` can start.

    Raises:
        ValueError: if the image cannot be halved that often, or a number is not positive.

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
        super().__init__()
        channels = _check_widths("channels", channels)
        sizes = _halvings(image_shape, len(channels))[::-1]
        first = (channels[0], *sizes[0])
        layers: list[nn.Module] = [nn.Linear(latent_dim, first[0] * first[1] * first[2])]
        layers += [nn.Unflatten(-1, first)]
        widths = [*channels, channels[-1]]
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            layers += [_double(before, after, sizes[i], sizes[i + 1])]
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU()]
        layers += [nn.Conv2d(channels[-1], num_maps, 3, padding=1)]
        self.layers = nn.Sequential(*layers)
        self.output_shape = (num_maps, *sizes[-1])
        numel = torch.Size(self.output_shape).numel()
        self.shortcut = LinearShortcut(latent_dim, numel) if shortcut else None

    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""
        h = _apply(self.layers, z, 1)
        return h if self.shortcut is None else h + self.shortcut(z).unflatten(-1, h.shape[-3:])

    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Becomes `weight @ x + bias`, to start training from.

        Raises:
            InputError: if it has no shortcut.
        """
        replace_network(self.shortcut, self.layers[-1], weight, bias)


class MLPEncoder(Encoder):
    """Fully connected layers on the flattened image.

    Args:
        image_shape: `(C, H, W)` of the images.
        num_outputs: how many numbers to give for one image.
        hidden: widths of the hidden layers, from the image inwards.
        activation: the non-linearity after each hidden layer.

    Raises:
        ValueError: if a width is not positive.

    Example:
        >>> MLPEncoder((1, 28, 28), num_outputs=8)(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_outputs: int,
        hidden: Sequence[int] = (200, 200),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        widths = [torch.Size(image_shape).numel(), *_check_widths("hidden", hidden)]
        self.layers = nn.Sequential(
            *_dense(widths, activation), nn.Linear(widths[-1], num_outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""
        return self.layers(x.flatten(-3))


class MLPDecoder(Decoder):
    """Fully connected layers from the latent to all pixels.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: how many maps of the image's size to give (the likelihood says).
        hidden: widths of the hidden layers, from the latent outwards.
        activation: the non-linearity after each hidden layer.

    Raises:
        ValueError: if a width is not positive.

    Example:
        >>> MLPDecoder((1, 28, 28), latent_dim=8, num_maps=1)(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 1, 28, 28])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        num_maps: int,
        hidden: Sequence[int] = (200, 200),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        widths = [latent_dim, *_check_widths("hidden", hidden)]
        self.output_shape = (num_maps, image_shape[1], image_shape[2])
        outputs = nn.Linear(widths[-1], torch.Size(self.output_shape).numel())
        self.layers = nn.Sequential(*_dense(widths, activation), outputs)

    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""
        return self.layers(z).unflatten(-1, self.output_shape)


def _dense(widths: Sequence[int], activation: Callable[[], nn.Module]) -> list[nn.Module]:
    pairs = itertools.pairwise(widths)
    return [layer for i, o in pairs for layer in (nn.Linear(i, o), activation())]


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


@torch.no_grad()
def replace_network(
    shortcut: LinearShortcut | None, last: nn.Module, weight: Tensor, bias: Tensor
) -> None:
    """Makes a shortcut `weight @ x + bias`, and the network beside it, ending in `last`, zero.

    Raises:
        InputError: if there is no shortcut.
    """
    if shortcut is None:
        raise InputError(
            "ProbabilisticPCA starts from linear shortcuts: set --encoder.shortcut true "
            "and --decoder.shortcut true"
        )
    shortcut.weight.copy_(weight / shortcut.gain)
    shortcut.bias.copy_(bias)
    for parameter in last.parameters():
        parameter.zero_()


def _double(
    before: int, after: int, size: tuple[int, int], target: tuple[int, int]
) -> nn.ConvTranspose2d:
    """A transposed convolution from a size to twice that, or one less."""
    extra = [t - (2 * s - 1) for s, t in zip(size, target, strict=True)]
    return nn.ConvTranspose2d(
        before, after, 3, stride=2, padding=1, output_padding=(extra[0], extra[1]), bias=False
    )
