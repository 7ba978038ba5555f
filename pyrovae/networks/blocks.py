"""Blocks of convolutions that keep the shape of their input."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["Block", "GatedBlock", "ResidualBlock", "activate", "convolution"]

#: Group norm: the smallest number of channels per group, and the largest number of groups.
GROUP_SIZE, MAX_GROUPS = 8, 32

#: Initial factor of a block's last convolution. At 0 the other weights would get no gradient.
BRANCH_SCALE = 0.01


class Block(nn.Module, ABC):
    """A layer that keeps the shape of its maps; its constructor takes the number of channels."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, width, H, W)` to maps of the same shape."""


class ResidualBlock(Block):
    r"""Adds a branch of two convolutions to the input.

    $$x + \text{conv}(\text{SiLU}(\text{norm}(\text{conv}(\text{SiLU}(\text{norm}(x))))))$$

    The branch is close to zero initially.

    Use it for fewer parameters than `GatedBlock` has.

    Args:
        width: number of channels.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016, section 4),
        https://arxiv.org/abs/1603.05027

    Example:
        >>> ResidualBlock(8)(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        first, last = convolution(width, width), shrunk(convolution(width, width))
        self.branch = nn.Sequential(*activate(width), first, *activate(width), last)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, width, H, W)` to maps of the same shape."""
        return x + self.branch(x)


class GatedBlock(Block):
    r"""Adds a gated branch of two convolutions to the input.

    $$x + a \odot \sigma(b), \quad (a, b) = \text{conv}(\text{SiLU}(\text{norm}(\text{conv}(
    \text{SiLU}(\text{norm}(x))))))$$

    Use it by default: the gates choose where the maps change.

    Args:
        width: number of channels.

    References:
        Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017, equation 1),
        https://arxiv.org/abs/1612.08083

    Example:
        >>> GatedBlock(8)(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        first, last = convolution(width, width), shrunk(convolution(width, 2 * width))
        layers = [*activate(width), first, *activate(width), last, nn.GLU(dim=-3)]
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, width, H, W)` to maps of the same shape."""
        return x + self.branch(x)


def convolution(before: int, after: int, stride: int = 1, kernel_size: int = 3) -> nn.Conv2d:
    """A convolution that preserves the scale of its input when training starts."""
    layer = nn.Conv2d(before, after, kernel_size, stride, padding=kernel_size // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return layer


@torch.no_grad()
def shrunk(layer: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights that are close to zero."""
    for parameter in layer.parameters():
        parameter.mul_(BRANCH_SCALE)
    return layer


def activate(width: int) -> list[nn.Module]:
    """Group norm and SiLU for maps of that many channels."""
    groups = range(1, min(width // GROUP_SIZE, MAX_GROUPS) + 1)
    return [nn.GroupNorm(max((g for g in groups if width % g == 0), default=1), width), nn.SiLU()]
