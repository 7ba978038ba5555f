"""Reads an image of any format that Pillow supports, as a uint8 array of a given shape."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["load_image"]

_ORIENTATION = 0x0112
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_FIRST = {"LAB": "RGB", "La": "LA"}  # conversions that Pillow needs first
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")

# Errors of the machine: reporting them as a bad image would hide the cause.
_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class _Quiet:
    """Silences Pillow's warnings; many threads may enter, and the first sets the filter.

    `warnings.catch_warnings` saves and restores a list that all threads share, so only the last
    thread to leave may restore it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._saved.__exit__(None, None, None)


quiet = _Quiet()


def load_image(
    image: str | Path | Image, image_shape: tuple[int, int, int], crop: int | None = None
) -> np.ndarray:
    """Reads an image, turns it upright, crops its centre, and resizes it.

    Transparent images are composited on white. Integers of more than eight bits are scaled from
    the range 0 to 65,535, floating-point values from 0 to 1; the scale never depends on the
    image. From a file with several frames the first is read.

    Args:
        image: a path, or an open Pillow image, which is not changed.
        image_shape: `(C, H, W)`; one channel is luminance, three are RGB.
        crop: side in pixels of the centred square to keep; by default the largest centred
            rectangle with the proportions of `image_shape`.

    Returns:
        uint8 array `(C, H, W)`.

    Raises:
        InputError: if the image cannot be read, or is smaller than `crop`.
    """
    if image_shape[0] not in (1, 3) or min(image_shape) < 1:
        raise ValueError(f"image_shape {tuple(image_shape)}: allowed are (1 or 3, H, W)")
    if isinstance(image, (list, tuple)) or hasattr(image, "dtype"):
        raise InputError(
            f"an image must be a path or a Pillow image, got {type(image).__name__}; "
            "PIL.Image.fromarray converts an array"
        )
    try:
        with quiet:
            return _load(image, image_shape, crop)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise a dozen types for a file they cannot read
        if isinstance(error, OSError) and error.errno in _RESOURCES:
            raise
        raise InputError(f"{_name(image)}: {_reason(image, error)}") from error


class GreyLevels:
    """Counts the grey values that a data set uses, up to `FEW`.

    Example:
        >>> levels = GreyLevels()
        >>> levels.add(np.array([[0, 3], [16, 3]], np.uint8))
        >>> levels.few()
        [0, 3, 16]
    """

    #: Photographs and scans with fewer grey values have lost detail.
    FEW = 64

    def __init__(self) -> None:
        self._used = np.zeros(256, bool)

    def add(self, images: np.ndarray) -> None:
        """Adds uint8 images of any shape."""
        if self._used.sum() < self.FEW:
            self._used[images.reshape(-1)] = True

    def few(self) -> list[int] | None:
        """The used grey values if there are fewer than `FEW` and not only black and white."""
        levels = np.flatnonzero(self._used).tolist()
        return levels if len(levels) < self.FEW and not {*levels} <= {0, 255} else None


def image_extensions() -> frozenset[str]:
    """The file extensions that Pillow can decode, lower-case and with their dot."""
    from PIL import Image

    extensions = Image.registered_extensions().items()  # also loads the plugins
    recognised_only = ("BUFR", "GRIB", "HDF5", "MPEG", "WMF")  # identified, but not decoded
    readable = set(Image.OPEN) - set(recognised_only)
    return frozenset(extension for extension, kind in extensions if kind in readable)


def _load(image: str | Path | Image, shape: tuple[int, int, int], crop: int | None) -> np.ndarray:
    from PIL import Image

    if not isinstance(image, str | Path):
        return _convert(image.copy(), shape, crop)
    # Opening a pipe may never return.
    if os.path.exists(image) and not (os.path.isfile(image) or os.path.isdir(image)):
        raise ValueError("a pipe, socket or device, not a file")
    _silence_libtiff()
    # By name, Pillow maps some TIFF files instead of reading them, and garbles rotated ones.
    with open(image, "rb") as file, Image.open(file) as opened:
        return _convert(opened, shape, crop)


@lru_cache(maxsize=1)
def _silence_libtiff() -> None:
    """Stops libtiff from printing to stderr: a damaged file raises an error anyway.

    Pillow has no function to set the library's handlers.
    """
    from PIL import _imaging

    with suppress(OSError, AttributeError):  # Some builds link libtiff in another way.
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _convert(image: Image, shape: tuple[int, int, int], crop: int | None) -> np.ndarray:
    from PIL.Image import Resampling

    channels, height, width = shape
    if crop is not None and min(image.size) < crop:
        raise ValueError(f"{image.width}x{image.height} pixels, smaller than the crop of {crop}")
    stored = image.size
    factor = _draft(image, shape, crop)
    image.load()
    loaded = image.size
    image = _flatten(_upright(image), "L" if channels == 1 else "RGB")
    turned = image.size != loaded
    full = image.size if factor == 1 else stored[::-1] if turned else stored
    left, top, right, bottom = (edge / factor for edge in _box(full, (width, height), crop))
    box = (left, top, right, bottom)
    image = image.resize((width, height), Resampling.BILINEAR, box=box)
    pixels = np.asarray(image).reshape(height, width, channels)
    return np.array(pixels.transpose(2, 0, 1), order="C")  # A copy: Pillow's memory is read-only.


def _draft(image: Image, shape: tuple[int, int, int], crop: int | None) -> int:
    """Lets the JPEG decoder reduce the image before the resize; returns the factor.

    The reduced image has at least three times the target size. The result then differs by half a
    grey level.
    """
    kept = min(image.size) if crop is None else crop
    factor = max(1, kept // (3 * max(shape[1:])))
    width, height = image.size
    if factor > 1 and _turned(image) and (width % 8 or height % 8):
        factor = 1  # after a rotation the padded last block would be first and shift the others
    image.draft("L" if shape[0] == 1 else "RGB", (width // factor or 1, height // factor or 1))
    return max(1, round(width / image.width))


def _upright(image: Image) -> Image:
    """Rotates the image by its EXIF orientation, if the EXIF block can be rewritten."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image) if _turned(image) else image
    except Exception:  # as in `_turned`
        return image


def _turned(image: Image) -> bool:
    """Whether the pixels are not stored upright; False if the EXIF block cannot be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    except Exception:  # a damaged block raises anything; the pixels are still usable
        return False


def _flatten(image: Image, mode: str) -> Image:
    from PIL import Image as pillow

    if image.mode in _DEEP:
        image = _eight_bits(image)
    image = image.convert(_FIRST[image.mode]) if image.mode in _FIRST else image
    if image.mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image) -> Image:
    """Scales grey values of more than eight bits to eight bits."""
    from PIL import Image as pillow

    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    ceiling, kind = (1.0, " of floats") if image.mode == "F" else (65535.0, "")
    if not (low >= 0 and high <= ceiling):  # refuses NaN too
        raise ValueError(
            f"grey values{kind} from {low:g} to {high:g}, allowed are 0 to {ceiling:g}"
        )
    return pillow.fromarray(np.rint(values * (255 / ceiling)).astype(np.uint8))


def _box(
    size: tuple[int, int], target: tuple[int, int], crop: int | None
) -> tuple[int, int, int, int]:
    """The centred part to keep, in whole pixels, so that a crop without resize stays sharp."""
    width, height = size
    across = crop or min(width, max(1, round(height * target[0] / target[1])))
    down = crop or min(height, max(1, round(width * target[1] / target[0])))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _name(image: str | Path | Image) -> str:
    if isinstance(image, str | Path):
        return str(image)
    return str(getattr(image, "filename", "")) or "image"


def _reason(image: str | Path | Image, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        empty = isinstance(image, str | Path) and Path(image).stat().st_size == 0
        return "the file is empty" if empty else "not an image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
