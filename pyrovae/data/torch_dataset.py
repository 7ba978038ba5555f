"""A data set from any map-style data set of PyTorch."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import pickle
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import Source, fingerprint
from pyrovae.data.divided import DividedImages
from pyrovae.data.fitting import fit_pixels
from pyrovae.data.images import colours_of, load_image
from pyrovae.data.layout import as_array, image_shape_of, is_last, one_image
from pyrovae.data.rows import spread_rows
from pyrovae.data.values import Level
from pyrovae.data.workers import each_in_order, shared_array
from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn
from pyrovae.utils.text import cut

__all__ = ["TorchDataset"]

#: Data sets need not be safe to read from several threads; forked workers do not wait.
_reading = threading.Lock()
#: Identifies this process, also where a later one has the same number; and objects in it.
_own, _made = uuid.uuid4().hex, itertools.count()


class TorchDataset(DividedImages):
    """A map-style data set of PyTorch or torchvision, from Python.

    Use it for images that a class reads already: each item is read once, on all cores, and stored.

    An item is an image, or a tuple of an image and a label. An image is a Pillow image, a tensor
    `(C, H, W)` or an array. The last axis of an array holds the channels if it is the shortest, as
    for `ArrayData`. For a tensor, the last axis must also have length 1, 3 or 4, and the first
    must not. With `image_shape`, the axis with that number of channels holds them. Labels are one
    number or several; others are not used, and a warning names them. A random transform is applied
    once; use `flip` and `augment` to change images at random.

    Each `TorchDataset` reads its items once, since it cannot know whether the data set has changed
    since an earlier reading. Make one object for several trainings. `reuse` keeps the stored
    images for later processes.

    Args:
        dataset: the training images. Splits that are not given are divided from them at random by
            `seed`: each has its share of every label, and at least one image.
        val: the data set of the validation images.
        test: the data set of the test images.
        image_shape: (channels, height, width) to convert the images to; by default the shape of
            the first image, which all must have. A run records it, so that it opens without the
            images.
        black: the value of grey value 0, or "auto": the 0.1% quantile of `dataset`. By default 0
            for uint8 and floats.
        white: the value of grey value 255, or "auto": the 99.9% quantile. By default 255 for
            uint8, and 1 for floats.
        flip: whether training mirrors images at random.
        augment: further random changes of training images, in order.
        limit: the number of training images to use, drawn at random; null uses all.
        show: the channels that pictures show; by default all.
        label_names: the names of the labels 0, 1, ...
        known: names of attributes that must be known, such as `age`: images without them are left
            out of all splits. `limit` is applied before.
        groups: one number or text per image of the training split, such as its patient: dividing
            keeps the images of a group in one split. Labels are then not balanced. From Python
            only.
        val_fraction: share of the images, or of groups, for validation, without `val`.
        test_fraction: share of the images, or of groups, for testing, without `test`.
        seed: seed of the random division.
        reuse: whether stored images and labels are used again if the pickled data set and 16 of
            its images are the same. Changes of a class, of a file or of a global variable that it
            reads may go unseen. A data set that cannot be pickled is always read anew.
        on_error: "raise" raises an error for an unreadable image; "skip" leaves it out with a
            warning.
        cache_dir: the folder of prepared images; by default `PYROVAE_CACHE`, or `pyrovae` in the
            user's cache folder.

    Example:
        >>> from torchvision.datasets import FakeData
        >>> data = TorchDataset(FakeData(size=30, image_size=(3, 8, 8), num_classes=2))
        >>> data.image_shape, data.split("train").attribute_names, len(data.split("test"))
        ((3, 8, 8), ('label',), 3)
    """

    def __init__(
        self,
        dataset: Any = None,
        val: Any = None,
        test: Any = None,
        image_shape: tuple[int, int, int] | None = None,
        black: Level = None,
        white: Level = None,
        flip: bool = False,
        augment: Augmentation | Sequence[Augmentation] = (),
        limit: int | None = None,
        show: int | Sequence[int] = (),
        known: str | Sequence[str] = (),
        label_names: tuple[str, ...] = (),
        groups: Any = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        reuse: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
    ) -> None:
        given = {"train": dataset, "val": val, "test": test}
        self.datasets = {name: own for name, own in given.items() if own is not None}
        for name, own in self.datasets.items():
            _check_map_style(name, own)
        self._converts, self.reuse = image_shape is not None, reuse
        self._number = next(_made)
        channels, height, width = image_shape or _shape_of(self._item("train", 0)[0])
        super().__init__(
            (channels, height, width),
            flip=flip,
            augment=augment,
            limit=limit,
            show=show,
            known=known,
            on_error=on_error,
            cache_dir=cache_dir,
            black=black,
            white=white,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            label_names=label_names,
            groups=groups,
        )

    def settings(self) -> dict[str, Any]:
        """The data set, its images' shape and the value range."""
        kinds = [
            f"{type(own).__module__}.{type(own).__qualname__}" for own in self.datasets.values()
        ]
        return super().settings() | {
            "kinds": kinds,
            "pickled": self._pickled,
            "converts": self._converts,
        }

    def found(self) -> dict[str, Any]:
        """The value range and the shape; data sets are not written to `config.yaml`."""
        return super().found() | dict.fromkeys(("dataset", "val", "test"))

    def _sizes(self) -> dict[str, int]:
        return {name: len(self._whole(name)) for name in self._known()}

    def _num_items(self) -> int:
        return len(self._known()["train"])

    def _labels(self) -> np.ndarray | None:
        whole = self._whole("train")
        return whole.attributes[:, 0] if whole.attribute_names == ("label",) else None

    def _known(self) -> dict[str, Any]:
        if "train" not in self.datasets:
            raise InputError(
                "TorchDataset has no images: a run does not store a data set of PyTorch; pass "
                "the same data set to TorchDataset"
            )
        return self.datasets

    def _item(self, given: str, index: int) -> tuple[Any, Any]:
        """The image and the label of an item; None without a label."""
        own = self._known()[given]
        if multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # The threads of the parent do not exist in a fork.
        try:
            with _reading:
                item = own[index]
        except Exception as error:  # A data set may raise anything.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{given} item {index}: {type(error).__name__}: {reason}") from error
        image, label, *_ = (*item, None) if isinstance(item, tuple | list) else (item, None)
        return image, label

    def _source(self, split: str) -> Source:
        count = len(self._known()[split])
        first = self._item(split, 0)[1]
        width, titles = _label_shape(first)
        if split == "train" and first is not None and not width:
            _warn_of_labels(first)
        # The workers are other processes: they write labels to shared memory.
        labels = shared_array((max(1, count * width * 4),))[: count * width * 4].view(np.float32)
        table = labels.reshape(count, width)

        def read(item: int) -> np.ndarray:
            image, label = self._item(split, item)
            try:
                if width:
                    table[item] = as_array(label, "label")
                return self._pixels(image)
            except (ValueError, TypeError) as error:
                raise InputError(f"{split} item {item}: {error}") from error

        names = [f"{split}/{item:06d}" for item in range(count)]
        hint = " (on_error='skip' leaves such images out)"
        return Source(names, read, table, titles, self._fingerprint(split), hint)

    def _pixels(self, image: Any) -> np.ndarray:
        """The stored pixels of an item's image."""
        if not self._converts and _shape_of(image) != self.image_shape:
            raise ValueError(
                f"an image of shape {_shape_of(image)}, the first is {self.image_shape}; "
                "image_shape converts images to one shape"
            )
        if hasattr(image, "getbands"):
            return load_image(image, self.image_shape, None, self.levels)
        pixels = self.levels.eight_bits(one_image(image, self.image_shape[0]))
        return fit_pixels(pixels, self.image_shape)

    def _training_values(self) -> Iterator[np.ndarray]:
        def values(item: int) -> np.ndarray:
            return as_array(self._item("train", item)[0], "image")

        return each_in_order(values, len(self._known()["train"]))

    @cached_property
    def _pickled(self) -> str:
        """A hash of the pickled data sets; empty if they cannot be pickled."""
        digest = hashlib.sha256()
        try:
            _Pickler(SimpleNamespace(write=digest.update), 5).dump(self.datasets)
        except Exception:  # Objects raise anything when they are pickled.
            return ""
        return digest.hexdigest()

    def _fingerprint(self, given: str) -> str:
        """Changes with the data set and a few of its images, if these are not random."""
        count = len(self.datasets[given])
        some = []
        for place in spread_rows(count, 16):
            with suppress(InputError):  # Preparing all images names the unreadable ones.
                some.append(as_array(self._item(given, int(place))[0], "image"))
        if some and not np.array_equal(some[0], as_array(self._item(given, 0)[0], "image")):
            warn(
                f"{given}: the data set returns a different image at each read, as with a random "
                "transform; only the first version of each image is stored; remove the random "
                "transform, and give augment=, such as Shift(2), to change training images at "
                "random in each epoch"
            )
            some = []
        known = (self.reuse and self._pickled) or f"{_process()} {self._number}"
        return fingerprint(known, str(count), *map(np.atleast_1d, some))


def _process() -> str:
    """A text that identifies this process; that of `torchrun` for the processes it starts."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return _own
    return f"{os.getppid()} {os.environ['TORCHELASTIC_RUN_ID']} {os.environ.get('MASTER_PORT')}"


class _Pickler(pickle.Pickler):
    """Pickles tensors by their values: PyTorch writes addresses too."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return str, (fingerprint(np.atleast_1d(as_array(obj, "tensor"))),)
        return NotImplemented


def _check_map_style(name: str, dataset: Any) -> None:
    """Raises `InputError` unless a data set has a length and items."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        loader = " (of a DataLoader, its attribute dataset)" if hasattr(dataset, "dataset") else ""
        raise InputError(
            f"{name}: {type(dataset).__name__} has no length or no items; allowed are map-style "
            f"data sets, with __len__ and __getitem__{loader}"
        )
    if not len(dataset):
        raise InputError(f"{name}: {type(dataset).__name__} holds no images")


def _shape_of(image: Any) -> tuple[int, int, int]:
    """The shape `(C, H, W)` of a Pillow image, a tensor or an array."""
    if hasattr(image, "getbands"):
        return colours_of(image), image.height, image.width
    shape = tuple(as_array(image, "image").shape)
    if len(shape) not in (2, 3):
        raise InputError(
            f"an item's image is {type(image).__name__} of shape {shape}; allowed are a Pillow "
            "image, a tensor (C, H, W) and an array"
        )
    return image_shape_of((1, *shape), _is_last(image, shape))


def _is_last(image: Any, shape: tuple[int, ...]) -> bool:
    """Whether the last axis of a tensor or an array holds the channels."""
    if not isinstance(image, Tensor):
        return is_last((1, *shape), None)
    # The channels of tensors are first, unless only the last axis is that of grey or colours.
    usual = [size in (1, 3, 4) for size in shape]
    return len(shape) == 3 and usual[2] and not usual[0] and shape[2] < min(shape[:2])


def _warn_of_labels(label: Any) -> None:
    """Warns in one line that labels are not used, given the first."""
    warn(
        f"TorchDataset: labels that are not numbers are not used; the first is {cut(label)} of "
        f"the type {type(label).__name__}; allowed are a number, and a vector of numbers; replace "
        "texts by numbers in the data set, and name the numbers with label_names"
    )


def _label_shape(label: Any) -> tuple[int, tuple[str, ...]]:
    """The number of a label's values, and their names; 0 for a label that is not a number."""
    if label is None or isinstance(label, dict | str):
        return 0, ()
    values = as_array(label, "label")
    if values.ndim == 0:
        return (1, ("label",)) if values.dtype.kind in "biuf" else (0, ())
    names = tuple(f"label_{column}" for column in range(values.size))
    return (values.size, names) if values.dtype.kind in "biuf" and values.ndim == 1 else (0, ())
