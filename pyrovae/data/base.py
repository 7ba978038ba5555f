"""The contract of a data set: uint8 images in three splits, with named attributes."""

from __future__ import annotations

import hashlib
import os
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.rows import one_per_group, spread_rows
from pyrovae.utils.arguments import Recorded, Writer
from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.text import closest, cut, printable
from pyrovae.utils.text import listed as listed_names

if TYPE_CHECKING:
    import pandas
    from PIL.Image import Image

__all__ = ["ImageData", "SPLITS", "Source", "Split", "fingerprint"]

SPLITS = ("train", "val", "test")
#: What `known` and `factors` may be.
NAMES = "; it is the name of an attribute, such as 'age', or a list of names"


def place_of(name: str) -> tuple[str, str] | None:
    """The split and the index in the name of an image; None for others, such as paths.

    Example:
        >>> place_of("test:12"), place_of("C:/test.png")
        (('test', '12'), None)
    """
    split, colon, index = name.partition(":")
    return (split, index) if colon and split in SPLITS else None


def check_choice(argument: str, value: str, allowed: Iterable[str]) -> None:
    """Raise `InputError` unless an argument has one of the allowed values."""
    if value not in allowed:
        raise InputError(f"{argument} {value!r}: allowed are {', '.join(allowed)}")


def check_split(name: str) -> None:
    """Raise `InputError` unless `name` is one of the three splits."""
    check_choice("split", name, SPLITS)


def check_count(argument: str, count: int | None, what: str) -> None:
    """Raise `InputError` unless an argument is a number of images or pixels, or None."""
    if count is not None and count < 1:
        raise InputError(f"{argument} {count}: allowed is a number of {what}, 1 or more")


def check_show(show: Sequence[int], channels: int) -> None:
    """Raise `InputError` unless `show` names channels of the images."""
    for channel in show:
        if not 0 <= channel < channels:
            raise InputError(f"show {channel}: allowed is 0 to {channels - 1}")


def checked_path(name: str, path: Any, hint: str = "") -> Path:
    """The path that an argument gives; raises `TypeError` for a value of another kind."""
    check_kind(name, path, str | os.PathLike, hint)
    return Path(path).expanduser()


def optional_path(name: str, path: Any, hint: str = "") -> Path | None:
    """The path that an argument gives, as `checked_path`; None for None."""
    return None if path is None else checked_path(name, path, hint)


def check_augment(augment: Sequence[Any]) -> None:
    """Raise `TypeError` unless all changes of training images are of the kind `Augmentation`."""
    hint = "; such as Shift(2), or an object of a class that you derive from Augmentation"
    for own in augment:
        check_kind("augment", own, Augmentation, hint)


def names_of(argument: str, names: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of attributes in an argument: one, several, or none for None.

    Raises:
        TypeError: for a value of another kind.
    """
    if names is None:
        return ()
    check_kind(argument, names, Iterable, NAMES)
    found = (names,) if isinstance(names, str) else tuple(names)
    for name in found:
        check_kind(argument, name, str, NAMES)
    return found


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


#: The side of square images, or height and width: `28`, `(28, 20)`, or the text `28x20`.
Size: TypeAlias = int | Sequence[int] | str


_Item = TypeVar("_Item")


def listed(value: _Item | Sequence[_Item]) -> tuple[_Item, ...]:
    """The items of a sequence, or a single value as the only item."""
    return tuple(value) if isinstance(value, Sequence) else (value,)


def image_extent(image_size: Size) -> tuple[int, int]:
    """`(H, W)` from the side of a square, or from height and width.

    Example:
        >>> image_extent(28), image_extent((28, 20)), image_extent("28x20")
        ((28, 28), (28, 20), (28, 20))
    """
    sides: Sequence[Any]
    if isinstance(image_size, str):
        found = re.fullmatch(r"(\d+)(?:[x, ]+(\d+))?", image_size.strip("[]() ").lower())
        sides = [int(side) for side in found.groups() if side] if found else ()
    else:
        sides = tuple(image_size) if isinstance(image_size, Iterable) else (image_size,)
    whole = all(isinstance(side, Integral) for side in sides)
    if len(sides) not in (1, 2) or not whole or min(sides) < 1:
        raise InputError(
            f"image_size {image_size}: allowed is a side, or height and width, of 1 or more "
            "pixels: 64, or 28x20"
        )
    return int(sides[0]), int(sides[-1])


@dataclass(frozen=True, repr=False)
class Split:
    """One split of a data set: images, names and attributes.

    Attributes:
        images: uint8 array `(N, C, H, W)`, memory-mapped where it comes from the cache.
        names: one name per image (a file name, or an index); bytes that are not UTF-8 are escaped.
        attributes: float32 array `(N, A)`; `A` is 0 for data without attributes.
        attribute_names: the `A` names.
        value_names: by attribute that is a class, the names of its values 0, 1, ...
        groups: `(N,)`, what the images of one group have in common, such as a patient, as a
            number or text; None if each image is a group of its own.
    """

    images: np.ndarray
    names: Sequence[str]
    attributes: np.ndarray
    attribute_names: Sequence[str] = field(default_factory=tuple)
    value_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        try:
            "".join(map(str, self.names)).encode()
        except UnicodeEncodeError:
            object.__setattr__(self, "names", [printable(str(name)) for name in self.names])

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        """The number of images, their shape, and the number of attributes."""
        shape = tuple(self.images.shape[1:])
        return f"<Split: {len(self):,} images {shape}, {len(self.attribute_names)} attributes>"

    def places(self, names: Sequence[str]) -> list[int]:
        """The columns of attributes.

        Raises:
            InputError: if there is no such attribute.
        """
        known = list(self.attribute_names)
        for name in names:
            if name not in known:
                shown = f"known are {listed_names(known)}" if known else "they have none"
                raise InputError(
                    f"the images have no attribute {cut(name)}{closest(name, known)}; {shown}"
                )
        return [known.index(name) for name in names]

    def take(self, rows: Sequence[int] | range | np.ndarray) -> Split:
        """Returns the given rows as a split."""
        index = np.asarray(rows, int)
        return self.chosen(index, self.images[index])

    def chosen(self, rows: np.ndarray, images: np.ndarray) -> Split:
        """Returns the given rows as a split, with these images."""
        return replace(
            self,
            images=images,
            names=[self.names[row] for row in rows],
            attributes=self.attributes[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def spread(self, count: int) -> Split:
        """Returns `count` rows, spread evenly over the split, and over groups; all rows for 0."""
        rows = spread_rows(len(self), count, self.groups)
        return self if len(rows) == len(self) else self.take(rows)

    def independent(self) -> Split:
        """Returns one row of each group, drawn from a fixed seed; all rows without groups.

        Tests that need independent images use it.
        """
        rows = np.arange(len(self)) if self.groups is None else one_per_group(self.groups)
        return self if len(rows) == len(self) else self.take(rows)

    def table(self) -> pandas.DataFrame:
        """The attributes as a data frame with one row per image, indexed by name.

        Attributes that are classes are columns of names.
        """
        import pandas

        columns = list(self.attribute_names)
        table = pandas.DataFrame(self.attributes, index=list(self.names), columns=columns)
        for name, values in self.value_names.items():
            codes = table[name].fillna(-1).astype(int)
            table[name] = pandas.Categorical.from_codes(codes, categories=list(values))
        return table


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

    def take(self, rows: Sequence[int] | np.ndarray) -> Source:
        """Returns the items of the given rows."""
        index = np.asarray(rows, int)
        return replace(
            self,
            names=[self.names[row] for row in index],
            read=lambda item: self.read(int(index[item])),
            attributes=self.attributes[index],
        )


_Items = TypeVar("_Items", Split, Source)


class ImageData(Recorded, ABC):
    """A data set of images of one shape.

    The constructor reads no files: `image_shape` follows from the arguments alone. Networks can
    be built, and runs loaded, on a machine without the images.

    Attributes:
        image_shape: `(C, H, W)`.
        flip: whether training mirrors images at random (never validation or test).
        augment: further random changes of training images.
        limit: the number of training images to use; None for all.
        show: the channels that pictures show; none means all. Three are red, green and blue.
        known: names of the attributes that must be known: other images are left out of all splits.
        crop: side of the centred square that is kept of each image file; None keeps the largest
            part with the proportions of `image_shape`.
        pad: whether black borders keep whole image files, in place of a crop.
        factors: names of the attributes that are the known factors of generated images.
        drawn_from: the number of training images before `limit` drew a part of them; None if it
            did not.
        left_out: the number of images without an attribute in `known`, by split that was read.
    """

    factors: Sequence[str] = ()
    drawn_from: int | None = None
    left_out: Mapping[str, int] = MappingProxyType({})

    image_shape: tuple[int, int, int]
    flip: bool = False
    augment: Sequence[Augmentation] = ()
    limit: int | None = None
    show: Sequence[int] = ()
    known: Sequence[str] = ()
    crop: int | None = None
    pad: bool = False

    def __repr__(self) -> str:
        """The class and the arguments that were given, those that are long cut short."""
        given = (f"{name}={reprlib.repr(own)}" for name, own in Writer.given(self).items())
        return f"{type(self).__name__}({', '.join(given)})"

    @abstractmethod
    def split(self, name: str) -> Split:
        """Images and attributes of `"train"`, `"val"` or `"test"`; prepares them if needed."""

    @abstractmethod
    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """Prepares one image in the same way as the stored images: uint8 `(C, H, W)`."""

    def attributes_of(self, image: str) -> dict[str, float] | None:
        """The attributes of a file of the data set, NaN if not known; None for other files.

        Files that `limit` and `known` leave out are files of the data set.
        """
        return None

    def settings(self) -> dict[str, Any]:
        """Plain values that determine the stored pixels: part of the cache's key."""
        return {}

    def named(self, name: str) -> Split | None:
        """The image of a name such as `test:12`; None for other names, such as paths.

        Raises:
            InputError: if the split has no such image.
        """
        if (place := place_of(name)) is None:
            return None
        kind, index = place
        split = self.split(kind)
        if not (index.isascii() and index.isdigit() and int(index) < len(split)):
            raise InputError(f"{name}: allowed are the images 0 to {len(split) - 1} of {kind}")
        return split.take([int(index)])

    def value_range(self) -> tuple[float, float] | None:
        """The stored values that become black and white; None if their type decides."""
        return None

    def about(self) -> str:
        """What the data set found and did to prepare images, for the log; "" if nothing."""
        return ""

    def limited(self, name: str, items: _Items) -> _Items:
        """The first `limit` items of a shuffle of the training split; other splits stay whole.

        The shuffle depends on the number of items only, so the images of a smaller limit are a
        subset of those of a larger one. Validation and test scores stay comparable.
        """
        rows = self.limited_rows(name, None, len(items.names))
        return items if rows is None else items.take(rows)

    def limited_rows(self, name: str, rows: np.ndarray | None, count: int) -> np.ndarray | None:
        """The rows of `limited`, out of the given rows; None means all `count` rows."""
        total = count if rows is None else len(rows)
        if name != "train" or self.limit is None or self.limit >= total:
            return rows
        self.drawn_from = total
        some = np.sort(np.random.default_rng(0).permutation(total)[: self.limit])
        return some if rows is None else rows[some]

    def found(self) -> dict[str, Any]:
        """Arguments of the constructor that the images determine, for the run's `config.yaml`.

        They replace the given ones, so that a run opens without the images. None replaces an
        argument that no file can hold.
        """
        return {}
