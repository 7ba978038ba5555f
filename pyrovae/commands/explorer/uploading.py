"""Reads an uploaded image from its bytes, with the reader of the run's data set."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np

from pyrovae.data import ImageData
from pyrovae.utils.errors import InputError

__all__ = ["read_upload"]

#: The largest number of bytes, and of pixels per image.
BYTES, PIXELS = 20 * 2**20, 50_000_000
#: The first bytes of TIFF files, which the data set reads from a file of that extension.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: The name of the image in messages.
NAME = "the uploaded file"


def read_upload(image: bytes, data: ImageData) -> np.ndarray:
    """Prepares the bytes of an image file as the images of the data set: uint8 `(C, H, W)`.

    Args:
        image: the bytes of the file.
        data: the data set, whose `preprocess` reads the file.

    Raises:
        InputError: if the bytes are no image, or too many.
    """
    if not image:
        raise InputError(f"{NAME} is empty: allowed is an image such as a PNG or JPEG file")
    if len(image) > BYTES:
        size = len(image) / 2**20
        raise InputError(f"{NAME} has {size:.1f} MB: allowed are {BYTES // 2**20} MB")
    _check_size(image)
    suffix = ".tif" if image.startswith(TIFF) else ".image"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(image)
        try:
            pixels = data.preprocess(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), NAME)) from None
    if pixels.shape != tuple(data.image_shape):
        raise InputError(f"{NAME}: shape {pixels.shape}, allowed is {tuple(data.image_shape)}")
    return np.array(pixels)


def _check_size(image: bytes) -> None:
    """Raises `InputError` if the header names too many pixels; nothing is decoded."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(image)) as opened:
                width, height = opened.size
        except Image.DecompressionBombError:
            raise InputError(f"{NAME}: allowed are {PIXELS:,} pixels, got more") from None
        except Exception:  # Not every image is one of Pillow's; the data set says what is wrong.
            return
    if width * height > PIXELS:
        raise InputError(f"{NAME}: {width}x{height} pixels, allowed are {PIXELS:,} pixels in all")
