"""The base of data sets whose given images are divided into splits at random."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from pyrovae.data.base import Split, check_split
from pyrovae.data.cache import cached_split
from pyrovae.data.cached import CachedImages
from pyrovae.data.division import Places, places
from pyrovae.data.rows import select
from pyrovae.utils.errors import InputError

__all__ = ["DividedImages"]


class DividedImages(CachedImages):
    """A data set of given splits; those that are not given are taken from the training split.

    A subclass calls the constructor of `CachedImages` and sets these attributes.

    Attributes:
        shares: the shares of the splits that are not given, test first.
        seed: seed of the random division.
    """

    shares: Mapping[str, float]
    seed: int

    @abstractmethod
    def _sizes(self) -> dict[str, int]:
        """The number of images of each given split, with `"train"`."""

    @abstractmethod
    def _labels(self) -> np.ndarray | None:
        """The labels of the given training split, to stratify by."""

    def _value_names(self) -> dict[str, Sequence[str]]:
        """The names of the values 0, 1, ... of attributes, if they have names."""
        return {}

    def _prepare(self, given: str) -> Split:
        """Prepares a given split, by default in the cache."""
        source = self._source(given)
        return cached_split(self, given, source, on_error=self.on_error, cache_dir=self.cache_dir)

    def _whole(self, given: str) -> Split:
        """A given split; it is prepared once."""
        if given not in self._prepared:
            whole = self._prepare(given)
            named = {k: v for k, v in self._value_names().items() if k in whole.attribute_names}
            self._prepared[given] = replace(whole, value_names=named)
        return self._prepared[given]

    @cached_property
    def _prepared(self) -> dict[str, Split]:
        return {}

    def split(self, name: str) -> Split:
        """Images, labels and attributes of `"train"`, `"val"` or `"test"`."""
        check_split(name)
        given, rows = self._places[name]
        whole = self._whole(given)
        rows = self.limited_rows(name, rows, len(whole))
        if rows is None:
            return whole
        if not len(rows):
            raise InputError(
                f"none of the {len(whole)} images is in the {name} split; raise "
                f"--data.{name}_fraction (now {self.shares[name]})"
            )
        names = [whole.names[row] for row in rows]
        images, attributes = select(whole.images, rows), whole.attributes[rows]
        return replace(whole, images=images, names=names, attributes=attributes)

    @cached_property
    def _places(self) -> Places:
        return places(self._sizes(), self.shares, self.seed, self._labels())

    def found(self) -> dict[str, Any]:
        """The value range and the shape, which follow from the images."""
        return super().found() | {"image_shape": list(self.image_shape)}
