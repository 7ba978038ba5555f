"""Grids of images as PNG files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pyrovae.checkpoint import replacing

__all__ = ["grid", "interleave", "save_png"]


def grid(images: Tensor, columns: int = 12, gap: int = 2) -> Tensor:
    """Lays images out row by row on white.

    Args:
        images: floats in [0, 1], `(N, C, H, W)`, C being 1 or 3.
        columns: images a row.
        gap: white pixels between two.

    Returns:
        uint8 of shape `(C, height, width)`.

    Example:
        >>> grid(torch.zeros(5, 1, 8, 8), columns=3, gap=1).shape
        torch.Size([1, 17, 26])
    """
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = torch.full(
        (channels, rows * (height + gap) - gap, columns * (width + gap) - gap), 255
    ).byte()
    for i, image in enumerate((images.float().clamp(0, 1) * 255).round().byte().cpu()):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def interleave(first: Tensor, second: Tensor, columns: int = 12) -> Tensor:
    """Rows of the first set, each with the same images of the second set in the row below."""
    pairs = zip(first.split(columns), second.split(columns), strict=True)
    return torch.cat([row for pair in pairs for row in pair])


def save_png(sheet: Tensor, path: Path) -> None:
    """Writes a uint8 picture `(C, H, W)`, C being 1 or 3."""
    from PIL import Image

    array = sheet.movedim(0, -1).squeeze(-1).numpy()
    with replacing(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG")
