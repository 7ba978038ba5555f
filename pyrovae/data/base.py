"""The contract of a data set: uint8 images in three splits, with named attributes."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import printable

if TYPE_CHECKING:
    import pandas
    from PIL.Image import Image

__all__ = ["ImageData", "SPLITS", "Source", "Split", "fingerprint"]

SPLITS = ("train", "val", "test")


def check_split(name: str) -> None:
    """Raise `InputError` unless `name` is one of the three splits."""
    if name not in SPLITS:
        raise InputError(f"split {name!r}: allowed are {', '.join(SPLITS)}")


def check_on_error(on_error: str) -> None:
    """Raise `InputError` unless `on_error` says what to do with an image that cannot be read."""
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error {on_error!r}: allowed are raise, skip")


def check_crop(crop: int | None) -> None:
    """Raise `InputError` unless `crop` is a number of pixels, or None."""
    if crop is not None and crop < 1:
        raise InputError(f"crop {crop}: allowed is a number of pixels, 1 or more")


def file_stamp(file: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Size and modification time of a file, to detect changes; (-1, -1) if it is missing."""
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def fingerprint(*parts: np.ndarray | str) -> str:
    """A hash of arrays and strings, for `Source.fingerprint`."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(f"{len(raw) if isinstance(raw, bytes) else raw.nbytes}:".encode())
        for start in range(0, len(raw), 1000):  # In pieces: a split may be larger than memory.
            piece = raw[start : start + 1000]
            digest.update(piece if isinstance(piece, bytes) else piece.tobytes())
    return digest.hexdigest()


def image_extent(image_size: int | Sequence[int]) -> tuple[int, int]:
    """`(H, W)` from one number for a square, or from the two."""
    extent = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(extent) != 2 or min(extent) < 1:
        raise InputError(
            f"image_size {image_size}: allowed is a size or (height, width), 1 or more"
        )
    return extent[0], extent[1]


@dataclass(frozen=True)
class Split:
    """One split of a data set: images, names and attributes.

    Attributes:
        images: uint8 array `(N, C, H, W)`, memory-mapped where it comes from the cache.
        names: one name per image (a file name, or an index); bytes that are not UTF-8 are escaped.
        attributes: float32 array `(N, A)`; `A` is 0 for data without attributes.
        attribute_names: the `A` names.
    """

    images: np.ndarray
    names: Sequence[str]
    attributes: np.ndarray
    attribute_names: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        try:
            "".join(map(str, self.names)).encode()
        except UnicodeEncodeError:
            object.__setattr__(self, "names", [printable(str(name)) for name in self.names])

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int] | range | np.ndarray) -> Split:
        """Returns the given rows as a split."""
        index = np.asarray(rows, int)
        names = [self.names[row] for row in index]
        return Split(self.images[index], names, self.attributes[index], self.attribute_names)

    def spread(self, count: int) -> Split:
        """Returns `count` rows, spread evenly over the split; all rows for 0."""
        rows = spread_rows(len(self), count)
        return self if len(rows) == len(self) else self.take(rows)

    def table(self) -> pandas.DataFrame:
        """The attributes as a data frame with one row per image, indexed by name."""
        import pandas

        return pandas.DataFrame(
            self.attributes, index=list(self.names), columns=list(self.attribute_names)
        )


def spread_rows(total: int, count: int) -> np.ndarray:
    """Returns `count` indices from 0 to `total` - 1, spread evenly; all if `count` is 0."""
    if not count or count >= total:
        return np.arange(total)
    return np.linspace(0, total - 1, count).astype(int)


@dataclass(frozen=True)
class Source:
    """The input from which the cache builds one split.

    Attributes:
        names: one name per item, in the order of the split.
        read: maps the index of an item to a uint8 array `(C, H, W)`; raises `InputError` with
            the item's path if the item cannot be read. Called from several threads.
        attributes: float32 array `(N, A)`.
        attribute_names: the `A` names.
        fingerprint: a text that changes when the items change (sizes and times of the files).
        hint: what to add to the error of an item that cannot be read.
    """

    names: Sequence[str]
    read: Callable[[int], np.ndarray]
    attributes: np.ndarray
    attribute_names: Sequence[str] = ()
    fingerprint: str = ""
    hint: str = " (--data.on_error skip leaves such images out)"


class ImageData(Recorded, ABC):
    """A data set of images of one shape.

    The constructor reads no files: `image_shape` follows from the arguments alone. Networks can
    be built, and runs loaded, on a machine without the images.

    Attributes:
        image_shape: `(C, H, W)`.
        flip: whether training mirrors images at random (never validation or test).
        factors: names of the attributes that are the known factors of generated images.
    """

    factors: Sequence[str] = ()

    image_shape: tuple[int, int, int]
    flip: bool = False

    @abstractmethod
    def split(self, name: str) -> Split:
        """Images and attributes of `"train"`, `"val"` or `"test"`; prepares them if needed."""

    @abstractmethod
    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """Prepares one image in the same way as the stored images: uint8 `(C, H, W)`."""

    def settings(self) -> dict[str, Any]:
        """Plain values that determine the stored pixels: part of the cache's key."""
        return {}

    def found(self) -> dict[str, Any]:
        """Arguments of the constructor that the images determine, for the run's `config.yaml`.

        They replace the given ones, so that a run opens without the images. None replaces an
        argument that no file can hold.
        """
        return {}
