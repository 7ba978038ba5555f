"""Fits the pixels of an image to a shape: a crop or borders, and a resize."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pyrovae.utils.text import counted

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Frame", "box_of", "check_crop", "fit_pixels", "mode_of", "pixels_of"]

Shape = tuple[int, int, int]


class Frame(NamedTuple):
    """What is kept of an image: its shape `(C, H, W)` in the end, a crop, or black borders."""

    shape: Shape
    crop: int | None = None
    pad: bool = False


def fit_pixels(
    pixels: np.ndarray, shape: Shape, crop: int | None = None, pad: bool = False
) -> np.ndarray:
    """Crops or pads, and resizes, uint8 pixels `(C, H, W)`; converts between grey and RGB.

    Raises:
        ValueError: if the number of channels is another, or the image is smaller than the crop.
    """
    from PIL import Image, ImageOps
    from PIL.Image import Resampling

    channels, height, width = shape
    if {len(pixels), channels} == {1, 3}:
        rows = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        image = Image.fromarray(np.ascontiguousarray(rows))
        pixels = pixels_of(image.convert(mode_of(channels)))
    if len(pixels) != channels:
        raise ValueError(
            f"{counted(len(pixels), 'channel')}, allowed are {channels} (--data.channels)"
        )
    if pixels.shape == shape and crop is None:
        return np.array(pixels, order="C")
    size = pixels.shape[2], pixels.shape[1]
    check_crop(size, crop)
    box = box_of(size, (width, height), crop)
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in pixels]
    if pad:
        whole = partial(ImageOps.pad, size=(width, height), method=Resampling.BILINEAR, color=0)
        return np.stack([np.asarray(whole(plane)) for plane in planes])
    resized = (plane.resize((width, height), Resampling.BILINEAR, box=box) for plane in planes)
    return np.stack([np.asarray(plane) for plane in resized])


def pixels_of(image: Image) -> np.ndarray:
    """A view `(C, H, W)` of the pixels of an image."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def check_crop(size: tuple[int, int], crop: int | None) -> None:
    """Raises `ValueError` if an image, width and height, is smaller than a crop."""
    if crop is not None and min(size) < crop:
        shown = f"{size[1]}x{size[0]} pixels (height x width)"
        raise ValueError(f"{shown}, smaller than the crop of {crop}")


def box_of(
    size: tuple[int, int], target: tuple[int, int], crop: int | None
) -> tuple[int, int, int, int]:
    """The centred part to keep, in whole pixels, so that a crop without resize stays sharp."""
    width, height = size
    across = crop or min(width, max(1, round(height * target[0] / target[1])))
    down = crop or min(height, max(1, round(width * target[1] / target[0])))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def mode_of(channels: int) -> str:
    """Pillow's name of 8-bit images of 1 or 3 channels."""
    return "L" if channels == 1 else "RGB"
