"""Images as PNG data URLs, single or side by side."""

from __future__ import annotations

import base64

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from pyrovae.utils.grids import as_pictures, png

__all__ = ["data_url", "sprite"]


def data_url(image: Tensor) -> str:
    """An image `(C, H, W)` of floats in [0, 1] as a PNG data URL."""
    return _url(_bytes(as_pictures(image.float().cpu())))


def sprite(images: Tensor, size: int) -> str:
    """Images side by side in squares, as one PNG data URL.

    Args:
        images: floats in [0, 1], `(N, C, H, W)`.
        size: the side of a square in pixels. Images that are not square have a white margin.
    """
    pictures = as_pictures(images.float().cpu())
    height, width = pictures.shape[-2:]
    scale = size / max(height, width)
    shape = [max(1, round(scale * side)) for side in (height, width)]
    if [height, width] != shape:
        pictures = interpolate(pictures, size=shape, mode="bilinear", antialias=True)
    down, across = (size - side for side in shape)
    margin = (across // 2, across - across // 2, down // 2, down - down // 2)
    squares = pad(pictures, margin, value=1.0)
    return _url(_bytes(torch.cat(list(squares), -1)))


def _bytes(picture: Tensor) -> Tensor:
    return (255 * picture.clamp(0, 1)).round().byte()


def _url(picture: Tensor) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()
