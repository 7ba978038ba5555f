"""Grids of images as PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["check_channels", "grid", "interleave", "png", "save_png", "to_pillow"]

#: Of 0 to 9. On sheets of faces level 6 takes four times as long, for files smaller by a tenth.
COMPRESSION = 1


def check_channels(channels: int) -> None:
    """Raises `InputError` unless images have 1 channel (grey) or 3 (colour)."""
    if channels not in (1, 3):
        raise InputError(f"images of {channels} channels: allowed are 1 (grey) and 3 (colour)")


def grid(images: Tensor, columns: int = 12, gap: int = 2) -> Tensor:
    """Arranges images in rows on a white sheet.

    Args:
        images: floats in [0, 1], `(N, C, H, W)`, C being 1 or 3.
        columns: images per row.
        gap: white pixels between two images.

    Returns:
        uint8 of shape `(C, height, width)`.

    Raises:
        InputError: if C is another number.

    Example:
        >>> grid(torch.zeros(5, 1, 8, 8), columns=3, gap=1).shape
        torch.Size([1, 17, 26])
    """
    count, channels, height, width = images.shape
    check_channels(channels)
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = torch.full(
        (rows * columns, channels, height + gap, width + gap), 255, dtype=torch.uint8
    )
    cells[:count, :, :height, :width] = (images.float().clamp(0, 1) * 255).round().byte().cpu()
    sheet = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
    return sheet[:, : sheet.shape[1] - gap, : sheet.shape[2] - gap].contiguous()


def interleave(first: Tensor, second: Tensor, columns: int = 12) -> Tensor:
    """Rows of the first set, each followed by a row of the same images of the second set."""
    pairs = zip(first.split(columns), second.split(columns), strict=True)
    return torch.cat([row for pair in pairs for row in pair])


def png(sheet: Tensor) -> bytes:
    """The content of a PNG file of a uint8 picture `(C, H, W)`, C being 1 or 3."""
    buffer = io.BytesIO()
    to_pillow(sheet).save(buffer, format="PNG", compress_level=COMPRESSION)
    return buffer.getvalue()


def to_pillow(sheet: Tensor) -> Image:
    """The Pillow image of a uint8 picture `(C, H, W)`, C being 1 or 3."""
    from PIL import Image

    check_channels(len(sheet))
    return Image.fromarray(sheet.movedim(0, -1).squeeze(-1).numpy())


def save_png(sheet: Tensor, path: Path) -> None:
    """Writes a uint8 picture `(C, H, W)`, C being 1 or 3, to a PNG file."""
    with replacing(path) as temporary:
        temporary.write_bytes(png(sheet))
