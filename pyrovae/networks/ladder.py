"""The networks of a ladder of latents: bottom-up for the guide, top-down for both programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pyrovae.networks.base import (
    ImageShape,
    LinearShortcut,
    LinearStart,
    apply_layers,
    check_widths,
)
from pyrovae.networks.blocks import Block, activate, convolution, shrunk
from pyrovae.networks.trunks import step_sizes
from pyrovae.utils.errors import check_kind
from pyrovae.utils.shared import Shared

__all__ = ["BottomUp", "Ladder", "Maps", "Shortcut", "Stage", "Top", "TopDown"]


@dataclass(frozen=True)
class Ladder:
    """The sizes of a ladder; all lists go from the image to the top.

    Args:
        image_shape: `(C, H, W)` of the images.
        channels: channels of the features at each level.
        latents: channels of the latent maps at each level; 0 for a level without.
        strides: stride from one level to the next; 2 halves the size, 1 keeps it.
        blocks: blocks per level of each network.
        block: returns a block for that many channels.

    Raises:
        ValueError: if the lists differ in length, the image cannot be halved that often, or a
            number is not allowed.
    """

    image_shape: ImageShape
    channels: Sequence[int]
    latents: Sequence[int]
    strides: Sequence[int] | None
    blocks: int
    block: Callable[[int], Block]

    def __post_init__(self) -> None:
        check_widths("channels", self.channels)
        for name, values in (("latents", self.latents), ("strides", self.strides)):
            if values is not None and len(values) != len(self.channels):
                raise ValueError(
                    f"{name} must have the length of channels, got {list(values)} for "
                    f"{list(self.channels)}"
                )
        if min(self.latents) < 0:
            raise ValueError(f"latents must be at least 0, got {list(self.latents)}")
        if not any(self.latents):
            raise ValueError(
                f"latents must have a level above 0, got {list(self.latents)}; with one latent "
                "vector it is a VAE"
            )
        if not {*(self.strides or [2])} <= {1, 2}:
            raise ValueError(f"strides must be 1 or 2, got {list(self.strides or ())}")
        if self.blocks < 0:
            raise ValueError(f"blocks must be at least 0, got {self.blocks}")
        _ = self.sizes

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the image, then of each level."""
        return step_sizes(self.image_shape, len(self.channels), self.strides)

    @property
    def steps(self) -> list[int]:
        """The stride to each level."""
        return list(self.strides or [2] * len(self.channels))

    @property
    def layers(self) -> list[int]:
        """The levels with latents, from the top."""
        return [level for level, latents in enumerate(self.latents) if latents][::-1]

    def repeated(self, width: int) -> list[nn.Module]:
        """The blocks of a level."""
        made = [self.block(width) for _ in range(self.blocks)]
        for block in made:
            check_kind("block", block, Block)
        return [*made]


class Maps(nn.Module):
    """Layers from maps to maps, for any number of batch dimensions.

    Args:
        layers: the layers in order.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(*, C, H, W)` to maps of the same batch dimensions."""
        return apply_layers(self.layers, x, 3)


class BottomUp(nn.Module):
    """Features of an image at each level.

    Args:
        ladder: the sizes.
    """

    def __init__(self, ladder: Ladder) -> None:
        super().__init__()
        before = [ladder.image_shape[0], *ladder.channels]
        self.levels = nn.ModuleList(
            Maps([convolution(first, width, stride), *ladder.repeated(width)])
            for first, width, stride in zip(before, ladder.channels, ladder.steps, strict=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images `(*, C, H, W)` to features `(*, C, H, W)` per level, from the image upwards."""
        found = [x]
        for level in self.levels:
            found.append(level(found[-1]))
        return tuple(found[1:])


class Top(nn.Module):
    """The posterior's parameters at the top, from the features of the highest level.

    Args:
        ladder: the sizes.
        num_outputs: outputs per image.
    """

    def __init__(self, ladder: Ladder, num_outputs: int) -> None:
        super().__init__()
        width, size = ladder.channels[-1], ladder.sizes[-1]
        active = activate(width) if ladder.blocks else []
        last = nn.Linear(width * math.prod(size), num_outputs)
        self.layers = nn.Sequential(*active, nn.Flatten(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(*, C, H, W)` to outputs `(*, num_outputs)`."""
        return apply_layers(self.layers, x, 3)


class Shortcut(LinearStart, nn.Module):
    """A linear map between image and top latents, parallel to all levels.

    Args:
        num_inputs: length of the input vectors.
        num_outputs: length of the output vectors.
        last: the layer to whose output it is added.
    """

    def __init__(self, num_inputs: int, num_outputs: int, last: nn.Module) -> None:
        super().__init__()
        # In a tuple, since the layer is a submodule of the networks.
        self.map, self._last = LinearShortcut(num_inputs, num_outputs), (last,)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors `(*, num_inputs)` to vectors `(*, num_outputs)`."""
        return self.map(x)

    def check_start(self) -> None:
        """It can start as any linear function."""

    def start_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Sets the map to `weight @ x + bias`, and the parallel layer to zero."""
        self.map.start(weight, bias, self._last[0])


class Stage(nn.Module):
    """The part of a top-down network from one latent variable to the next.

    Args:
        inject: maps the latents to features.
        event_dim: number of dimensions of the latents of one image.
        layers: maps the features to those of the next latents.
        head: maps these features to the prior's parameters of the next latents.
    """

    def __init__(
        self, inject: nn.Module, event_dim: int, layers: Iterable[nn.Module], head: nn.Module
    ) -> None:
        super().__init__()
        self.inject, self.event_dim, self.head = inject, event_dim, head
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, above: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features and parameters below latents z; `above` are the features that gave z."""
        h = apply_layers(self.inject, z, self.event_dim)
        h = apply_layers(self.layers, h if above is None else above + h, 3)
        return h, apply_layers(self.head, h, 3)


class TopDown(nn.Module):
    """Features and prior parameters of each level with latents, and the likelihood's maps.

    Args:
        ladder: the sizes.
        latent_dim: number of dimensions of the top latents.
        num_maps: number of output maps.

    Attributes:
        stages: the stage below each latent variable but the last; guide and model share a run.
        end: the stage below the last one, whose parameters are the maps.
    """

    def __init__(self, ladder: Ladder, latent_dim: int, num_maps: int) -> None:
        super().__init__()
        self.size = ladder.image_shape[1:]
        shape = (ladder.channels[-1], *ladder.sizes[-1])
        inject: nn.Module = nn.Sequential(
            nn.Linear(latent_dim, math.prod(shape)), nn.Unflatten(-1, shape)
        )
        stages, layers, event_dim = [], ladder.repeated(ladder.channels[-1]), 1
        for level in reversed(range(len(ladder.channels))):
            width, latents = ladder.channels[level], ladder.latents[level]
            if latents:
                head = shrunk(convolution(width, 2 * latents, kernel_size=1))
                stages.append(Stage(inject, event_dim, layers, head))
                inject, event_dim, layers = convolution(latents, width, kernel_size=1), 3, []
            below = ladder.channels[level - 1] if level else width
            layers += _enlarged(ladder, level, below)
        self.stages = nn.ModuleList(Shared(stage) for stage in stages)
        self.end = Stage(inject, event_dim, layers, _output(ladder, num_maps))

    @property
    def last(self) -> nn.Module:
        """The layer that gives the maps."""
        assert isinstance(self.end.head, nn.Sequential)
        return self.end.head[-2]  # Before the shuffle of pixels.

    def forward(self, z: Tensor, above: Tensor) -> Tensor:
        """The maps `(*, num_maps, H, W)` of the last latents and their features."""
        _, maps = self.end(z, above)
        return maps[..., : self.size[0], : self.size[1]]


def _enlarged(ladder: Ladder, level: int, below: int) -> list[nn.Module]:
    """The layers from a level to the one below; only blocks above the image."""
    if level == 0:
        return ladder.repeated(below)
    grown: list[Any] = [nn.Upsample(ladder.sizes[level])] if ladder.steps[level] == 2 else []
    return [*grown, convolution(ladder.channels[level], below), *ladder.repeated(below)]


def _output(ladder: Ladder, num_maps: int) -> nn.Module:
    """The layers from the lowest level to the maps, at least as large as the image."""
    width, stride = ladder.channels[0], ladder.steps[0]
    active = activate(width) if ladder.blocks else []
    last = convolution(width, num_maps * stride**2)
    return nn.Sequential(*active, last, nn.PixelShuffle(stride))
