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
    """Size and time of a file, which tell whether it has changed; (-1, -1) if it is missing."""
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
        digest.update(f"{raw.nbytes if isinstance(raw, np.ndarray) else len(raw)}:".encode())
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
    """One split of a data set: the images, and what is known about each.

    Attributes:
        images: uint8 array `(N, C, H, W)`, memory-mapped where it comes from the cache.
        names: one name an image (a file name, or an index); bytes that are not UTF-8 are escaped.
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
        """Some rows, as a split."""
        index = np.asarray(rows, int)
        names = [self.names[row] for row in index]
        return Split(self.images[index], names, self.attributes[index], self.attribute_names)

    def spread(self, count: int) -> Split:
        """So many rows spread evenly over the split; all of them for 0."""
        rows = spread_rows(len(self), count)
        return self if len(rows) == len(self) else self.take(rows)

    def table(self) -> pandas.DataFrame:
        """The attributes as a data frame with one row an image, indexed by name."""
        import pandas

        return pandas.DataFrame(
            self.attributes, index=list(self.names), columns=list(self.attribute_names)
        )


def spread_rows(total: int, count: int) -> np.ndarray:
    """So many of the places 0 to `total` - 1, spread evenly; all of them for 0, or for more."""
    if not count or count >= total:
        return np.arange(total)
    return np.linspace(0, total - 1, count).astype(int)


@dataclass(frozen=True)
class Source:
    """What the cache needs to build one split: items, and how one item becomes an image.

    Attributes:
        names: one name an item, in the order of the split.
        read: maps an item's position to a uint8 array `(C, H, W)`; raises `InputError` with
            the item's path when it cannot be read. Called from several threads.
        attributes: float32 array `(N, A)`.
        attribute_names: the `A` names.
        fingerprint: anything that changes when the items do (sizes and times of the files).
    """

    names: Sequence[str]
    read: Callable[[int], np.ndarray]
    attributes: np.ndarray
    attribute_names: Sequence[str] = ()
    fingerprint: str = ""


class ImageData(Recorded, ABC):
    """A data set of images of one shape.

    Constructing one reads nothing: `image_shape` follows from the arguments alone, so that
    networks can be built, and runs loaded, on a machine that does not have the images.

    Attributes:
        image_shape: `(C, H, W)`.
        flip: whether training mirrors images at random (never validation or test).
        factors: names of those attributes that images were made from, all of them known.
    """

    factors: Sequence[str] = ()

    image_shape: tuple[int, int, int]
    flip: bool

    @abstractmethod
    def split(self, name: str) -> Split:
        """Images and attributes of `"train"`, `"val"` or `"test"`, prepared if need be."""

    @abstractmethod
    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """One image of the user's, as this data set would have stored it: uint8 `(C, H, W)`."""

    def settings(self) -> dict[str, Any]:
        """What decides the stored pixels, as plain values: part of the cache's key."""
        return {}
