"""The base of data sets whose images are prepared once and then read from the cache."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import (
    ImageData,
    Source,
    Split,
    check_augment,
    check_choice,
    check_count,
    check_show,
    check_split,
    listed,
    names_of,
)
from pyrovae.data.cache import cached_split
from pyrovae.data.images import load_image
from pyrovae.data.rows import select
from pyrovae.data.values import Level, ValueRange, check_levels, range_of
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CachedImages", "chosen"]


def chosen(split: Split, rows: np.ndarray) -> Split:
    """The given rows of a split; many images are not copied."""
    return split.chosen(rows, select(split.images, rows))


class CachedImages(ImageData):
    """A data set whose splits are read from the cache; the first access builds them.

    A subclass defines `_source`, the items of a split, and `settings`, which determine the stored
    pixels. One that takes `black` and `white` also defines `_training_values`.

    Args:
        image_shape: `(C, H, W)` of the stored images.
        flip: whether training mirrors images at random.
        augment: further random changes of training images.
        limit: the number of training images to use.
        show: the channels that pictures show.
        crop: side of the centred square to keep of each image; None keeps the largest centred
            part with the proportions of `image_shape`.
        known: names of attributes that must be known.
        factors: names of the attributes that are the known factors of generated images.
        on_error: "raise" raises an error for an unreadable image; "skip" leaves it out with a
            warning.
        cache_dir: the folder of prepared images, see `cache_root`.
        black: the stored value of grey value 0, "auto", or None: the type decides.
        white: the stored value of grey value 255, "auto", or None.
        nan: the grey value of NaN; None allows no NaN.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        flip: bool = False,
        augment: Augmentation | Sequence[Augmentation] = (),
        limit: int | None = None,
        show: int | Sequence[int] | None = (),
        crop: int | None = None,
        known: str | Sequence[str] | None = (),
        factors: str | Sequence[str] | None = (),
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
        black: Level = None,
        white: Level = None,
        nan: int | None = None,
    ) -> None:
        check_count("limit", limit, "images")
        check_count("crop", crop, "pixels")
        check_levels(black, white, nan)
        check_choice("on_error", on_error, ("raise", "skip"))
        self.image_shape = image_shape
        self.flip, self.augment = flip, listed(augment)
        self.limit, self.show = limit, () if show is None else listed(show)
        check_augment(self.augment)
        check_show(self.show, image_shape[0])
        self.crop = crop
        self.known, self.left_out = names_of("known", known), {}
        self.factors = names_of("factors", factors)
        self.on_error = on_error
        self.cache_dir = cache_dir
        self.black, self.white, self.nan = black, white, nan

    @abstractmethod
    def _source(self, split: str) -> Source:
        """The items of a split."""

    def split(self, name: str) -> Split:
        """Images and attributes of `"train"`, `"val"` or `"test"`; prepares them if needed."""
        check_split(name)
        return self._cached(name, self.limited(name, self._source(name)))

    def _cached(self, name: str, source: Source) -> Split:
        """The items of a split from the cache."""
        return cached_split(self, name, source, on_error=self.on_error, cache_dir=self.cache_dir)

    def informed(self, name: str, split: Split) -> Split:
        """The images of a split whose attributes in `known` are known; counts the others.

        The cache holds all images, so that another choice of attributes needs no new preparation.

        Raises:
            InputError: if `known` or `factors` names no attribute, or no image is left.
        """
        split.places(self.factors)
        if not self.known:
            return split
        unknown = np.isnan(split.attributes[:, split.places(self.known)]).any(1)
        self.left_out = {**self.left_out, name: int(unknown.sum())}
        if unknown.all():
            raise InputError(
                f"--data.known {cut(' '.join(self.known))}: none of the {len(split):,} images of "
                f"the split {name} has all of these"
            )
        return chosen(split, np.flatnonzero(~unknown)) if unknown.any() else split

    @cached_property
    def levels(self) -> ValueRange:
        """The value range of the data set; "auto" reads the training images."""
        remembered = self._levels_file() if "auto" in (self.black, self.white) else None
        found = range_of(self.black, self.white, self._training_values, remembered)
        return replace(found, nan=self.nan)

    def _training_values(self) -> Iterable[np.ndarray]:
        """The stored values of the training images, for "auto"."""
        raise NotImplementedError

    def _levels_file(self) -> Path | None:
        """The file that keeps what "auto" found; None if the images may change unseen."""
        return None

    def settings(self) -> dict[str, Any]:
        """The value range and the grey value of NaN, if they are given."""
        levels = {} if self.white is None else {"levels": [self.levels.black, self.levels.white]}
        return levels if self.nan is None else levels | {"nan": self.nan}

    def value_range(self) -> tuple[float, float] | None:
        """The stored values that become black and white; None if their type decides."""
        if self.levels.white is None:
            return None
        return self.levels.black or 0.0, self.levels.white

    def found(self) -> dict[str, Any]:
        """The value range, if it is "auto"."""
        if "auto" not in (self.black, self.white):
            return {}
        return {"black": self.levels.black, "white": self.levels.white}

    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """Prepares one image in the same way as the stored images: uint8 `(C, H, W)`."""
        return load_image(image, self.image_shape, self.crop, self.levels, pad=self.pad)
