"""The base of data sets whose given images are divided into splits at random."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from pyrovae.data.base import Split, check_split
from pyrovae.data.cached import CachedImages, chosen
from pyrovae.data.columns import check_names, group_column, warn_of_unused
from pyrovae.data.division import Places, check_fractions, places
from pyrovae.data.fitting import fit_pixels
from pyrovae.data.layout import one_image
from pyrovae.utils.errors import InputError

__all__ = ["DividedImages"]


class DividedImages(CachedImages):
    """A data set of given splits; those that are not given are taken from the training split.

    Args:
        image_shape: `(C, H, W)` of the stored images.
        val_fraction: share of the images for validation, if that split is not given.
        test_fraction: share of the images for testing, if that split is not given.
        seed: seed of the random division.
        label_names: the names of the labels 0, 1, ...
        groups: one number or text per image of the given training split.
        options: further arguments of `CachedImages`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        val_fraction: float,
        test_fraction: float,
        seed: int,
        label_names: Sequence[str],
        groups: Any = None,
        **options: Any,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        super().__init__(image_shape, **options)
        self.shares = {"test": test_fraction, "val": val_fraction}
        self.seed, self._label_names, self.groups = seed, tuple(label_names), groups

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels 0, 1, ...; empty if they have none."""
        return self._label_names

    @abstractmethod
    def _sizes(self) -> dict[str, int]:
        """The number of images of each given split, with `"train"`."""

    @abstractmethod
    def _labels(self) -> np.ndarray | None:
        """The labels of the given training split, to stratify by."""

    def _groups(self) -> Any:
        """The group of each image of the given training split, if any."""
        return self.groups

    def _num_items(self) -> int:
        """The number of images of the given training split, with those that are skipped."""
        return self._sizes()["train"]

    @cached_property
    def _numbers(self) -> np.ndarray | None:
        """The groups as numbers."""
        groups = self._groups()
        return None if groups is None else group_column(groups, self._num_items())

    def _prepare(self, given: str) -> Split:
        """Prepares a given split, by default in the cache."""
        return self._cached(given, self._source(given))

    def _whole(self, given: str) -> Split:
        """A given split; it is prepared once."""
        if given not in self._prepared:
            whole = self._prepare(given)
            self._prepared[given] = self._with_names(whole, given)
        return self._prepared[given]

    def _with_names(self, whole: Split, given: str) -> Split:
        """A split with the names of its classes."""
        known = list(whole.attribute_names)
        named = {name: own for name, own in self._value_names().items() if name in known}
        if "label" in named:
            labels = whole.attributes[:, known.index("label")]
            check_names(named["label"], labels)
            if given == "train" and self._label_names:
                warn_of_unused(self._label_names, labels)
        return replace(whole, value_names=named, groups=self._groups_of(whole, given))

    def _groups_of(self, whole: Split, given: str) -> np.ndarray | None:
        """The group of each image of a given split; None if they have none."""
        if self._numbers is None or given != "train":
            return None
        if len(self._numbers) == len(whole):
            return self._numbers
        return self._numbers[[int(name.rpartition("/")[2]) for name in whole.names]]

    def _value_names(self) -> dict[str, tuple[str, ...]]:
        """By attribute that is a class, the names of its values 0, 1, ..."""
        return {"label": self.label_names} if self.label_names else {}

    @cached_property
    def _prepared(self) -> dict[str, Split]:
        return {}

    def preprocess(self, image: Any) -> np.ndarray:
        """Prepares one image as the stored images: uint8 `(C, H, W)`.

        `np.stack([data.preprocess(image) for image in images])` prepares several.

        Args:
            image: a path, a Pillow image, or an array or tensor `(C, H, W)`, `(H, W, C)` or
                `(H, W)` with the value range of the given images.
        """
        if not hasattr(image, "dtype"):
            return super().preprocess(image)
        try:
            values = one_image(image, self.image_shape[0])
        except InputError as error:
            hint = "np.stack([data.preprocess(image) for image in images]) prepares several"
            raise InputError(f"{error}; {hint}") from None
        try:
            pixels = self.levels.eight_bits(values)
        except ValueError as error:
            raise InputError(f"the image: {error}") from error
        return fit_pixels(pixels, self.image_shape)

    def split(self, name: str) -> Split:
        """Images, labels and attributes of `"train"`, `"val"` or `"test"`."""
        check_split(name)
        given, rows = self._places[name]
        whole = self._whole(given)
        rows = self.limited_rows(name, rows, len(whole))
        if rows is None:
            return self.informed(name, whole)
        if not len(rows):
            raise InputError(
                f"none of the {len(whole)} images is in the {name} split; raise "
                f"--data.{name}_fraction (now {self.shares[name]})"
            )
        return self.informed(name, chosen(whole, rows))

    @cached_property
    def _places(self) -> Places:
        sizes, groups = self._sizes(), self._numbers
        if groups is not None and len(groups) != sizes["train"]:  # Some images were skipped.
            groups = self._whole("train").groups
        return places(sizes, self.shares, self.seed, self._labels(), groups)

    def found(self) -> dict[str, Any]:
        """The value range and the shape, which follow from the images; not the groups."""
        return super().found() | {"image_shape": list(self.image_shape), "groups": None}
