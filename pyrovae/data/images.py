"""Reads an image of any format that Pillow supports, as a uint8 array of a given shape."""

from __future__ import annotations

import ctypes
import errno
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.data.fitting import Frame, box_of, check_crop, fit_pixels, mode_of, pixels_of
from pyrovae.data.layout import one_image
from pyrovae.data.tiff import deep_values, full_values, has_pages, is_tiff, page_image, page_of
from pyrovae.data.values import BY_TYPE, ValueRange
from pyrovae.data.workers import each_in_order
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["load_image"]

ORIENTATION = 0x0112
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_FIRST = {"LAB": "RGB", "La": "LA"}  # conversions that Pillow needs first
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_GREY = ("1", "L", "LA", "La", *_DEEP)

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


without_pillow_warnings = _Quiet()


def load_image(
    image: str | Path | Image,
    image_shape: tuple[int, int, int],
    crop: int | None = None,
    levels: ValueRange = BY_TYPE,
    *,
    pad: bool = False,
) -> np.ndarray:
    """Reads an image, turns it upright, crops its centre or pads it, and resizes it.

    Transparent images are composited on white. `levels` maps the values to 8 bits. Without
    numbers, integers of more than eight bits are scaled from the range 0 to 65,535, floating-point
    values from 0 to 1; the scale never depends on the image. From a file with several frames the
    first is read, unless a name such as `stack.tif[3]` names a page of a TIFF file.

    Args:
        image: a path, or an open Pillow image, which is not changed.
        image_shape: `(C, H, W)`; one channel is luminance, three are RGB, and other numbers are
            the channels of the file.
        crop: side in pixels of the centred square to keep; by default the largest centred
            rectangle with the proportions of `image_shape`.
        levels: the range of values that is mapped to 8 bits.
        pad: whether black borders give the whole image the proportions of `image_shape`.

    Returns:
        uint8 array `(C, H, W)`.

    Raises:
        InputError: if the image cannot be read, or is smaller than `crop`.
    """
    if min(image_shape) < 1:
        raise ValueError(
            f"image_shape {tuple(image_shape)}: allowed are (C, H, W), 1 or more each"
        )
    if isinstance(image, (list, tuple)) or hasattr(image, "dtype"):
        raise InputError(
            f"an image must be a path or a Pillow image, got {type(image).__name__}; "
            "PIL.Image.fromarray converts an array"
        )
    with _named_errors(image):
        return _load(image, Frame(image_shape, crop, pad), levels)


def stored_values(path: Path, channels: int) -> np.ndarray:
    """The values of an image file before they are mapped to 8 bits.

    Args:
        path: the file, or a page of it.
        channels: the number of channels of the data set.

    Raises:
        InputError: if the image cannot be read.
    """
    from PIL import Image

    with _named_errors(path):
        file, page = page_of(path)
        values = _values(file, page, channels)
        if values is not None:
            return values
        if page is not None:
            return np.asarray(page_image(file, page))
        with open(file, "rb") as raw, Image.open(raw) as image:
            kept = image.mode in _DEEP or channels not in (1, 3)
            return np.asarray(image if kept else _flatten(image, mode_of(channels), BY_TYPE))


def all_values(paths: Sequence[Path], channels: int, skip: bool) -> Iterator[np.ndarray]:
    """The values of each image before they are mapped to 8 bits, read on all cores.

    Args:
        paths: the files, or pages of files.
        channels: the number of channels of the data set.
        skip: whether to leave out images that cannot be read.

    Raises:
        InputError: for the first image that cannot be read.
    """

    def values(item: int) -> np.ndarray | None:
        try:
            return stored_values(paths[item], channels)
        except InputError:
            if skip:
                return None
            raise

    return (own for own in each_in_order(values, len(paths)) if own is not None)


@contextmanager
def _named_errors(image: str | Path | Image) -> Iterator[None]:
    """Context whose errors become an `InputError` with the name of the image."""
    try:
        with without_pillow_warnings:
            yield
    except MemoryError:
        raise
    except Exception as error:  # decoders raise a dozen types for a file they cannot read
        if isinstance(error, OSError) and error.errno in _RESOURCES:
            raise
        raise InputError(f"{_name(image)}: {_reason(image, error)}") from error


def colours_of(image: Image) -> int:
    """The number of channels of a Pillow image without transparency: 1 for grey, else 3."""
    return 1 if image.mode in _GREY else 3


def bits_of(image: Image) -> str:
    """The values of a Pillow image, such as `8 bits`: integers of 8 or more bits, or floats."""
    if image.mode not in _DEEP:
        return "8 bits"
    if image.mode == "I" and image.format != "PNG":  # Older versions of Pillow read PNG so.
        return "32 bits"
    return "floats" if image.mode == "F" else "16 bits"


def is_deep_negative(image: Image) -> bool:
    """Whether 0 is white in a TIFF file of more than 8 bits; Pillow inverts those of 8 only."""
    from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

    if not isinstance(image, TiffImageFile) or image.mode not in _DEEP:
        return False
    return image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def image_extensions() -> frozenset[str]:
    """The extensions of the files that can be read, lower-case and with their dot."""
    from PIL import Image

    extensions = Image.registered_extensions().items()  # also loads the plugins
    recognised_only = ("BUFR", "GRIB", "HDF5", "MPEG", "WMF")  # identified, but not decoded
    readable = set(Image.OPEN) - set(recognised_only)
    return frozenset(name for name, kind in extensions if kind in readable) | {".npy"}


def _load(image: str | Path | Image, frame: Frame, levels: ValueRange) -> np.ndarray:
    if not isinstance(image, str | Path):
        return _convert(image.copy(), frame, levels)
    path, page = page_of(image)
    # Opening a pipe may never return.
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("a pipe, socket or device, not a file")
    _silence_libtiff()
    values = _values(path, page, frame.shape[0])
    if values is not None:
        white = None if path.suffix.lower() == ".npy" or values.itemsize > 2 else 65535.0
        return fit_pixels(levels.eight_bits(values, white), *frame)
    if page is not None:
        return _convert(page_image(path, page), frame, levels)
    return _opened(path, frame, levels)


def _values(path: Path, page: int | None, channels: int) -> np.ndarray | None:
    """The values `(C, H, W)` of files that are not read by Pillow, else None."""
    try:
        if is_tiff(path):
            return full_values(path, page, channels)
        if path.suffix.lower() == ".npy":
            return one_image(np.load(path, allow_pickle=False), channels)
    except MemoryError:  # A damaged header asks for any amount.
        raise ValueError("its header names more values than fit into memory") from None
    return None


def _opened(path: Path, frame: Frame, levels: ValueRange) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    # By name, Pillow maps some TIFF files instead of reading them, and garbles rotated ones.
    try:
        with open(path, "rb") as file, Image.open(file) as opened:
            return _convert(opened, frame, levels)
    except UnidentifiedImageError:
        if not is_tiff(path) or not has_pages(path):
            raise
    return fit_pixels(levels.eight_bits(deep_values(path, None), 65535.0), *frame)


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


def _convert(image: Image, frame: Frame, levels: ValueRange) -> np.ndarray:
    from PIL.Image import Resampling

    (channels, height, width), crop, pad = frame
    check_crop(image.size, crop)
    _check_depth(image, levels)
    if channels not in (1, 3):
        image.load()
        return fit_pixels(levels.eight_bits(pixels_of(upright(image)), 65535.0), *frame)
    stored = image.size
    # The last pixels of a reduced image are of fewer pixels, which `fit_pixels` does not know.
    factor = 1 if pad else _draft(image, frame.shape, crop)
    image.load()
    loaded = image.size
    image = _flatten(upright(image), mode_of(channels), levels)
    if pad:
        return fit_pixels(pixels_of(image), *frame)
    turned = image.size != loaded
    full = image.size if factor == 1 else stored[::-1] if turned else stored
    left, top, right, bottom = (edge / factor for edge in box_of(full, (width, height), crop))
    box = (left, top, right, bottom)
    image = image.resize((width, height), Resampling.BILINEAR, box=box)
    pixels = np.asarray(image).reshape(height, width, channels)
    return np.array(pixels.transpose(2, 0, 1), order="C")  # A copy: Pillow's memory is read-only.


def _check_depth(image: Image, levels: ValueRange) -> None:
    """Raises `ValueError` if Pillow drops the bits that the value range is about."""
    deep = any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ()))
    if deep and image.mode not in _DEEP and levels.white is not None and levels.white > 255:
        raise ValueError(
            f"16-bit colours, of which Pillow reads only 8 bits: allowed is white up to 255, got "
            f"{levels.white:g}; TIFF keeps all bits"
        )


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


def upright(image: Image) -> Image:
    """Rotates the image by its EXIF orientation, if the EXIF block can be rewritten."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image) if _turned(image) else image
    except Exception:  # as in `_turned`
        return image


def _turned(image: Image) -> bool:
    """Whether the pixels are not stored upright; False if the EXIF block cannot be read."""
    try:
        return image.getexif().get(ORIENTATION, 1) not in (0, 1)
    except Exception:  # a damaged block raises anything; the pixels are still usable
        return False


def _flatten(image: Image, mode: str, levels: ValueRange) -> Image:
    from PIL import Image as pillow

    if image.mode in _DEEP:
        image = pillow.fromarray(levels.eight_bits(np.asarray(image), 65535.0))
        levels = BY_TYPE
    image = image.convert(_FIRST[image.mode]) if image.mode in _FIRST else image
    if image.mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    image = image if image.mode == mode else image.convert(mode)
    if levels.black is None:
        return image
    return image.point(levels.eight_bits(np.arange(256)).tolist() * len(mode))


def _name(image: str | Path | Image) -> str:
    if isinstance(image, str | Path):
        return str(image)
    return str(getattr(image, "filename", "")) or "image"


def _reason(image: str | Path | Image, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        empty = isinstance(image, str | Path) and page_of(image)[0].stat().st_size == 0
        unread = "not an image that Pillow can read; convert it to PNG or JPEG"
        return "the file is empty" if empty else unread
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
