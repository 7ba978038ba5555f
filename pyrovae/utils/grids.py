"""Grids of images as PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replace_file

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "as_pictures",
    "columns_for",
    "grid",
    "interleave",
    "labelled",
    "page",
    "png",
    "save_png",
    "showing",
    "to_pillow",
]

#: Of 0 to 9. On sheets of faces level 6 takes four times as long, for files smaller by a tenth.
COMPRESSION = 1
#: Pages enlarge images up to this side, in pixels.
SIDE = 64

_shown: ContextVar[tuple[int, ...]] = ContextVar("shown", default=())


def check_channels(channels: int) -> None:
    """Raises `InputError` unless a picture has 1 channel (grey) or 3 (colour)."""
    if channels not in (1, 3):
        raise InputError(f"images of {channels} channels: allowed are 1 (grey) and 3 (colour)")


@contextmanager
def showing(channels: Sequence[int]) -> Iterator[None]:
    """Context in which pictures show the given channels only; none means all channels.

    Args:
        channels: indices from 0; three of them are shown as red, green and blue.
    """
    token = _shown.set(tuple(channels))
    try:
        yield
    finally:
        _shown.reset(token)


def as_pictures(images: Tensor) -> Tensor:
    """Images of any number of channels as grey or colour pictures.

    One channel is shown in grey, three in colour. Any other number becomes one grey picture per
    image: its channels as tiles, from left to right and row by row, each in a white frame of one
    pixel. `showing` selects channels.

    Args:
        images: floats in [0, 1], `(*, C, H, W)`.

    Returns:
        `(*, C', H', W')`, C' being 1 or 3.

    Example:
        >>> as_pictures(torch.zeros(2, 5, 8, 8)).shape
        torch.Size([2, 1, 19, 28])
    """
    if chosen := _shown.get():
        images = images[..., list(chosen), :, :]
    count = images.shape[-3]
    if count in (1, 3):
        return images
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    blank = (0, 1, 0, 1, 0, rows * columns - count)
    tiles = pad(images, blank, value=1.0).unflatten(-3, (rows, columns))
    sheet = tiles.transpose(-3, -2).flatten(-2).flatten(-3, -2)
    return pad(sheet, (1, 0, 1, 0), value=1.0)[..., None, :, :]


def columns_for(count: int, most: int = 12) -> int:
    """The number of images per row of a page: at most `most`, so that rows end together.

    Half of `most` or more columns that divide the count are preferred; else it is `most`.

    Example:
        >>> columns_for(144), columns_for(64), columns_for(61), columns_for(5)
        (12, 8, 12, 5)
    """
    if count <= most:
        return max(count, 1)
    return next((n for n in range(most, most // 2 - 1, -1) if count % n == 0), most)


def page(images: Tensor, columns: int = 12) -> Tensor:
    """Arranges images of any number of channels on a page; enlarges small ones.

    Images are enlarged by a whole factor, up to sides of `SIDE` pixels.

    Args:
        images: floats in [0, 1], `(N, C, H, W)`.
        columns: images per row.

    Returns:
        uint8 of shape `(1 or 3, height, width)`.
    """
    factor = max(1, SIDE // max(images.shape[-2:]))
    shown = as_pictures(images.float().cpu())
    large = shown.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    return grid(large, columns)


def grid(images: Tensor, columns: int = 12, gap: int = 2) -> Tensor:
    """Arranges images in rows on a white sheet.

    Args:
        images: floats in [0, 1], `(N, C, H, W)`, C being 1 or 3.
        columns: images per row.
        gap: white pixels between two images.

    Returns:
        uint8 of shape `(C, height, width)`.

    Raises:
        InputError: if C is another number; see `as_pictures`.

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


def labelled(sheet: Tensor, rows: Sequence[str], columns: Sequence[str], gap: int = 2) -> Tensor:
    """Writes labels left of the rows of a sheet and above its columns.

    Args:
        sheet: uint8 `(C, height, width)`, from `grid` or `page`.
        rows: one label per row.
        columns: one label per column.
        gap: white pixels between two images of the sheet.

    Returns:
        The larger sheet, uint8 `(C, height + top, width + left)`.
    """
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 12)
    left, top = 8 + max(int(font.getlength(text)) for text in rows), 20
    whole = pad(sheet, (left, 0, top, 0), value=255)
    margin = Image.new("L", (whole.shape[2], whole.shape[1]), 255)
    draw = ImageDraw.Draw(margin)
    height, width = ((sheet.shape[i] + gap) / len(own) for i, own in ((1, rows), (2, columns)))
    for i, text in enumerate(rows):
        draw.text((left - 5, top + (i + 0.5) * height), text, 0, font, anchor="rm")
    for i, text in enumerate(columns):
        draw.text((left + (i + 0.5) * width, top - 4), text, 0, font, anchor="ms")
    # Black letters on white: the darker of both keeps images and letters.
    return torch.minimum(whole, torch.from_numpy(np.array(margin)))


def interleave(first: Tensor, second: Tensor, columns: int = 12) -> Tensor:
    """Rows of the first set, each followed by a row of the same images of the second set.

    White images fill the last row of each set, so that every row of a grid is of one set.
    """
    columns = max(1, min(columns, len(first)))
    missing = -len(first) % columns
    whole = [torch.cat([own, own.new_ones(missing, *own.shape[1:])]) for own in (first, second)]
    pairs = zip(*(own.split(columns) for own in whole), strict=True)
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
    replace_file(path, png(sheet))
