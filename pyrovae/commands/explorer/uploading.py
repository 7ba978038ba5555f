"""Reads an uploaded image from its bytes, with the reader of the run's data set."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np

from pyrovae.data import ImageData
from pyrovae.data.tiff import values_named
from pyrovae.utils.errors import InputError

__all__ = ["read_upload"]

#: The largest number of bytes, and of pixels per image; of a TIFF file, of values in all pages.
BYTES, PIXELS = 20 * 2**20, 50_000_000
#: The formats that are read. Others of Pillow's start programs (EPS), or few people use them.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
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
        InputError: if the bytes are not an image of an allowed format, or too many.
    """
    if not image:
        raise InputError(f"{NAME} is empty: allowed is an image such as a PNG or JPEG file")
    if len(image) > BYTES:
        size = len(image) / 2**20
        raise InputError(f"{NAME} has {size:.1f} MB: allowed are {BYTES // 2**20} MB")
    tiff = image.startswith(TIFF)
    _check_pixels(0 if tiff else _pixels_named(image))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{'.tif' if tiff else '.image'}"
        path.write_bytes(image)
        _check_pixels(values_named(path) if tiff else 0)
        try:
            pixels = data.preprocess(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), NAME)) from None
    return np.array(pixels)


def _check_pixels(count: int) -> None:
    if count > PIXELS:
        raise InputError(f"{NAME}: {count:,} pixels, allowed are {PIXELS:,}")


def _pixels_named(image: bytes) -> int:
    """The number of pixels that the header names; nothing is decoded."""
    from PIL import Image

    Image.init()
    known = [own for own in FORMATS if own in Image.OPEN]  # Older versions lack AVIF.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(image), formats=known) as opened:
                return opened.size[0] * opened.size[1]
        except Image.DecompressionBombError:
            raise InputError(f"{NAME}: allowed are {PIXELS:,} pixels, got more") from None
        except Exception:  # Decoders raise a dozen types for a file they cannot read.
            raise InputError(f"{NAME}: not an image; allowed are {', '.join(known)}") from None
