"""A data set from arrays: in memory, or in a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.array_files import StoredArray, arrays_of
from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import Source, Split, file_stamp, fingerprint, optional_path
from pyrovae.data.columns import (
    as_attributes,
    attribute_columns,
    check_distinct,
    check_renamed,
    label_column,
    numbered,
)
from pyrovae.data.divided import DividedImages
from pyrovae.data.division import check_splits
from pyrovae.data.grey_levels import GreyLevels, warn_of_few
from pyrovae.data.labels import Attributes, read_table
from pyrovae.data.layout import as_array, channels_first, image_shape_of, is_last
from pyrovae.data.loader import spread
from pyrovae.data.values import Level, memory_of
from pyrovae.utils.errors import InputError

__all__ = ["ArrayData"]

_BLOCK_BYTES = 2**24


class ArrayData(DividedImages):
    """Images in an array or a tensor, in memory or in a file, with any number of channels.

    Use it for images that are not in separate files: NumPy arrays, tensors, `.npy`, `.npz` and
    HDF5 files.

    uint8 images are used where they are, without a copy: a file `.npy` larger than memory is
    read batch by batch. Other types are mapped to 8 bits once, in memory or in the cache.

    Splits are given, as a mapping or as several arrays of a file, or they are divided at random
    by `seed`: each split has its share of every label, and at least one image.

    Args:
        images: array or tensor `(N, C, H, W)`, `(N, H, W, C)` or `(N, H, W)`; or a mapping of
            `"train"` and possibly `"val"` and `"test"` to such arrays. From Python only.
        labels: one number or text per image, or such a mapping; they become the attribute `label`.
            None and NaN mark unknown labels.
        attributes: a data frame, a series with a name, a mapping of names to columns, an array
            `(N, A)`, or a mapping of splits to one of these. Texts become classes, as in a table
            of `ImageFolder`. Rows are matched by position; the index of a frame is ignored. From
            Python only.
        table: a CSV file with the attributes, in place of `attributes`: one row per image, in
            their order. Empty cells are unknown.
        attribute_names: the names of the columns of an array.
        label_names: the names of the labels 0, 1, ...
        path: a file `.npy`, `.npz`, `.h5` or `.hdf5` with the images, in place of `images`.
        key: the array in the file; by default the only one. "{}" is replaced by the names of
            splits: `x_{}` reads `x_train`, `x_val` and `x_test` if they exist.
        label_key: the array of the labels in the file, in the same format as `key`.
        group_key: the array of the groups in the file, in the same format as `key`; see `groups`.
        channels_last: whether the last axis of an image holds the channels, and not the first;
            by default the one that is shorter than both other axes.
        image_shape: (channels, height, width) of the images; by default that of the array. A run
            records it, so that it opens without the images.
        black: the stored value of grey value 0, or "auto": the 0.1% quantile of the training
            split. By default 0 for uint8 and floats.
        white: the stored value of grey value 255, or "auto": the 99.9% quantile. By default 255
            for uint8, and 1 for floats.
        nan: the grey value, 0 to 255, of NaN in arrays of floats, which marks a missing pixel;
            other pixels do not get it. With `Masked(missing=...)` of the same value as the
            likelihood, missing pixels are not scored. By default NaN is an error.
        flip: whether training mirrors images at random.
        augment: further random changes of training images, in order.
        limit: the number of training images to use, drawn at random; null uses all.
        show: the channels that pictures show; by default all.
        known: names of attributes that must be known, such as `age`: images without them are left
            out of all splits. `limit` is applied before.
        factors: names of the attributes that images were generated from, such as `x y`: `evaluate`
            and `inspect` score how well single latent dimensions match them.
        groups: one number or text per image of the training split, such as its patient: dividing
            keeps the images of a group in one split. Labels are then not balanced. From Python
            only.
        val_fraction: share of the images, or of groups, for validation, if that split is not
            given.
        test_fraction: share of the images, or of groups, for testing, if that split is not given.
        seed: seed of the random division.
        cache_dir: the folder of prepared images; by default `PYROVAE_CACHE`, or `pyrovae` in the
            user's cache folder.

    Example:
        >>> images = np.zeros((50, 8, 8, 5), np.uint8)
        >>> data = ArrayData(images, labels=np.arange(50) % 2)
        >>> data.image_shape, {name: len(data.split(name)) for name in ("train", "val", "test")}
        ((5, 8, 8), {'train': 40, 'val': 5, 'test': 5})
    """

    def __init__(
        self,
        images: Any = None,
        labels: Any = None,
        attributes: Any = None,
        attribute_names: Sequence[str] = (),
        label_names: Sequence[str] = (),
        table: str | None = None,
        path: str | None = None,
        key: str | None = None,
        label_key: str | None = None,
        group_key: str | None = None,
        channels_last: bool | None = None,
        image_shape: tuple[int, int, int] | None = None,
        black: Level = None,
        white: Level = None,
        nan: int | None = None,
        flip: bool = False,
        augment: Augmentation | Sequence[Augmentation] = (),
        limit: int | None = None,
        show: int | Sequence[int] = (),
        known: str | Sequence[str] = (),
        factors: str | Sequence[str] = (),
        groups: Any = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        _check_sources(images, path, groups, attributes, table)
        self.path, self.table = optional_path("path", path), optional_path("table", table)
        self.key, self.label_key, self.channels_last = key, label_key, channels_last
        self.group_key = group_key
        self.labels, self.attributes, self.attribute_names = labels, attributes, attribute_names
        self._images = None if images is None else _by_split(images, "images")
        channels, height, width = self._shape() if image_shape is None else image_shape
        shape = channels, height, width
        super().__init__(
            shape,
            flip=flip,
            augment=augment,
            limit=limit,
            show=show,
            known=known,
            factors=factors,
            cache_dir=cache_dir,
            black=black,
            white=white,
            nan=nan,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            label_names=label_names,
            groups=groups,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Other processes open files themselves, and a copy holds its images once.
        return {
            name: own for name, own in vars(self).items() if name not in ("_stored", "_prepared")
        }

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels 0, 1, ...; empty if they have none."""
        return self._label_names or self._numbered[1]

    def settings(self) -> dict[str, Any]:
        """The file, the layout and the value range."""
        return super().settings() | {
            "path": str(self.path and self.path.absolute()),
            "key": self.key,
            "channels_last": self._last,
        }

    def found(self) -> dict[str, Any]:
        """The value range and the shape; arrays in memory are not written to `config.yaml`."""
        return super().found() | dict.fromkeys(("images", "labels", "attributes"))

    @cached_property
    def _stored(self) -> dict[str, StoredArray]:
        """The arrays of the given splits."""
        if self._images is not None:
            arrays = {name: as_array(own, "images") for name, own in self._images.items()}
            return {name: StoredArray.of(own) for name, own in arrays.items()}
        if self.path is None:
            raise InputError(
                "--data.path, or path in config.yaml: ArrayData needs a file with the images, or "
                "in Python ArrayData(images); a run does not store arrays in memory"
            )
        return arrays_of(self.path, self.key, (self.label_key, self.group_key))

    @cached_property
    def _last(self) -> bool:
        return is_last(self._stored["train"].shape, self.channels_last)

    def _shape(self) -> tuple[int, int, int]:
        """The shape of the images, from the headers of their files."""
        where = "" if self.path is None else f"--data.path {self.path}: "
        for stored in self._stored.values():
            try:
                is_last(stored.shape, self._last)
            except InputError as error:
                raise InputError(f"{where}{error}") from None
            if stored.dtype.kind not in "biuf":
                allowed = "allowed are integers and floats"
                raise InputError(f"{where}images of type {stored.dtype}: {allowed}")
        shapes = {image_shape_of(own.shape, self._last) for own in self._stored.values()}
        if len(shapes) > 1:
            found = " and ".join(map(str, sorted(shapes)))
            raise InputError(f"the splits have images of several shapes: {found}")
        return shapes.pop()

    def _sizes(self) -> dict[str, int]:
        if (shape := self._shape()) != self.image_shape:
            raise InputError(f"image_shape {self.image_shape}: the images are {shape}")
        return {name: len(own) for name, own in self._stored.items()}

    def _labels(self) -> np.ndarray | None:
        return self._numbered[0].get("train")

    def _groups(self) -> Any:
        given = super()._groups()
        if given is None and self.group_key is not None and self.path is not None:
            stored = arrays_of(self.path, self.group_key, option="--data.group_key")
            given = stored["train"].read(0, len(stored["train"]))
        return given

    @cached_property
    def _numbered(self) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """The labels of each given split as numbers, and the names of these numbers."""
        given = self.labels
        if given is None and self.label_key is not None and self.path is not None:
            stored = arrays_of(self.path, self.label_key, option="--data.label_key")
            given = {name: own.read(0, len(own)) for name, own in stored.items()}
        if given is None:
            return {}, ()
        columns = self._for_each_split(given, "labels", label_column)
        # Together: a text has the same number in all splits.
        numbers, names = numbered(np.concatenate(list(columns.values())))
        if names and self._label_names:
            check_renamed(self._label_names, names)
        ends = np.cumsum([len(own) for own in columns.values()])[:-1]
        return dict(zip(columns, np.split(numbers, ends), strict=True)), names

    @cached_property
    def _tables(self) -> dict[str, Attributes]:
        """The attributes of each given split."""
        given = self.attributes
        if self.table is not None:
            given = read_table(self.table, "table")
        if given is None:
            return {}

        columns = partial(attribute_columns, names=self.attribute_names)
        return as_attributes(self._for_each_split(given, "attributes", columns))

    def _value_names(self) -> dict[str, tuple[str, ...]]:
        """The names of the classes among the attributes, and of the labels."""
        classes = {
            name: own for table in self._tables.values() for name, own in table.value_names.items()
        }
        return classes | super()._value_names()

    def _for_each_split(self, given: Any, what: str, convert: Any) -> dict[str, Any]:
        """Converts what is given for each split, with the number of images of the split."""
        parts = _by_split(given, what)
        if parts.keys() != self._stored.keys():
            names = [", ".join(own) for own in (parts, self._stored)]
            raise InputError(f"{what} of {names[0]}: allowed are those of the images, {names[1]}")
        return {name: convert(own, len(self._stored[name])) for name, own in parts.items()}

    def _described(self, given: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Labels and attributes of a given split."""
        labels, attributes = self._numbered[0], self._tables.get(given, Attributes())
        columns = [*attributes.columns.values()]
        names = tuple(attributes.columns)
        if given in labels:
            columns, names = [labels[given], *columns], ("label", *names)
            check_distinct(names)
        empty = np.empty((len(self._stored[given]), 0), np.float32)
        return np.column_stack([empty, *columns]), names

    def _prepare(self, given: str) -> Split:
        stored = self._stored[given]
        plain = stored.dtype == np.uint8 and self.levels.black is None
        if stored.whole is None or not (plain or stored.in_memory):
            return super()._prepare(given)
        images = channels_first(stored.whole(), self._last)
        return self._in_memory(given, images if plain else self._converted(images))

    def _in_memory(self, given: str, images: np.ndarray) -> Split:
        """A split whose images are in memory, or mapped; warns if they use few grey values."""
        if given == "train":
            levels = GreyLevels()
            levels.add(spread(images, 1000))
            warn_of_few(self, levels.few())
        return Split(images, self._names(given), *self._described(given))

    def _names(self, given: str) -> list[str]:
        return [f"{given}/{row:06d}" for row in range(len(self._stored[given]))]

    def _converted(self, images: np.ndarray) -> np.ndarray:
        """The images in 8 bits, in memory."""
        grey = np.empty(images.shape, np.uint8)
        step, levels = _rows_per_block(images.shape), self.levels
        for start in range(0, len(images), step):
            some = slice(start, start + step)
            try:
                grey[some] = levels.eight_bits(images[some])
            except ValueError:
                for row, image in enumerate(images[some], start):
                    self._grey(image, f"image {row}")
                raise
        return grey

    def _source(self, split: str) -> Source:
        """The images of a file, which is read in blocks."""
        stored, step = self._stored[split], _rows_per_block(self._stored[split].shape)

        @lru_cache(maxsize=2)  # The images of a block are read one after the other.
        def block(start: int) -> np.ndarray:
            return channels_first(stored.read(start, min(start + step, len(stored))), self._last)

        def read(item: int) -> np.ndarray:
            image = block(item - item % step)[item % step]
            return np.ascontiguousarray(self._grey(image, f"{self.path}: image {item}"))

        assert self.path is not None
        table, titles = self._described(split)
        stamp = fingerprint(np.array(file_stamp(self.path), np.int64), table)
        return Source(self._names(split), read, table, titles, stamp, hint="")

    def _grey(self, values: np.ndarray, what: str) -> np.ndarray:
        levels = self.levels  # Its errors are those of the whole split.
        try:
            return levels.eight_bits(values)
        except ValueError as error:
            missing = values.dtype.kind == "f" and self.nan is None and np.isnan(values).any()
            hint = "; --data.nan 0 with --likelihood Masked --likelihood.missing 0 leaves NaN out"
            raise InputError(f"{what}: {error}{hint if missing else ''}") from error

    def _training_values(self) -> Iterator[np.ndarray]:
        given, rows = self._places["train"]
        stored = self._stored[given]
        step = _rows_per_block(stored.shape)
        chosen = np.ones(len(stored), bool) if rows is None else np.zeros(len(stored), bool)
        chosen[rows] = True
        for start in range(0, len(stored), step):
            values = stored.read(start, start + step)[chosen[start : start + step]]
            yield values if self.nan is None else values[values == values]

    def _levels_file(self) -> Path | None:
        if self.path is None:
            return None
        division = [self.shares, self.seed, self.label_key, self.group_key]
        key = [self.path.absolute(), file_stamp(self.path), self.key, division]
        return memory_of(key, self.cache_dir)


def _rows_per_block(shape: tuple[int, ...]) -> int:
    return max(1, _BLOCK_BYTES // (4 * int(np.prod(shape[1:]))))


def _by_split(given: Any, what: str) -> dict[str, Any]:
    """What is given for each split; an array or a table belongs to the training split."""
    if isinstance(given, Mapping) and "train" in given:
        check_splits(given, what)
        return dict(given)
    return {"train": given}


def _check_sources(images: Any, path: Any, groups: Any, attributes: Any, table: Any) -> None:
    """Raises `InputError` if images, groups or attributes are given in two ways."""
    if images is not None and path is not None:
        raise InputError("images and path are both given; allowed is one of them")
    if groups is not None and path is not None:
        raise InputError("groups and path are both given; the groups of a file are group_key")
    if isinstance(images, str | os.PathLike):
        raise InputError(f"--data.path names a file, and images are arrays; got {str(images)!r}")
    if attributes is not None and table is not None:
        raise InputError("attributes and table are both given; allowed is one of them")
    if isinstance(images, Mapping):
        check_splits(images, "images")
