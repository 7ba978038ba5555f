"""The base of data sets whose images are prepared once and then read from the cache."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import (
    ImageData,
    Source,
    Split,
    check_crop,
    check_limit,
    check_on_error,
    check_show,
    check_split,
    listed,
)
from pyrovae.data.cache import cached_split
from pyrovae.data.images import load_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CachedImages"]


class CachedImages(ImageData):
    """A data set whose splits are read from the cache; the first access builds them.

    A subclass defines `_source`, the items of a split, and `settings`, which determine the stored
    pixels.

    Args:
        image_shape: `(C, H, W)` of the stored images.
        flip: whether training mirrors images at random.
        augment: further random changes of training images.
        limit: the number of training images to use.
        show: the channels that pictures show.
        crop: side of the centred square to keep of each image; None keeps the largest centred
            part with the proportions of `image_shape`.
        on_error: "raise" raises an error for an unreadable image; "skip" leaves it out with a
            warning.
        cache_dir: the folder of prepared images, see `cache_root`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        flip: bool = False,
        augment: Augmentation | Sequence[Augmentation] = (),
        limit: int | None = None,
        show: int | Sequence[int] = (),
        crop: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
    ) -> None:
        check_limit(limit)
        check_crop(crop)
        check_on_error(on_error)
        self.image_shape = image_shape
        self.flip, self.augment = flip, listed(augment)
        self.limit, self.show = limit, listed(show)
        check_show(self.show, image_shape[0])
        self.crop = crop
        self.on_error = on_error
        self.cache_dir = cache_dir

    @abstractmethod
    def _source(self, split: str) -> Source:
        """The items of a split."""

    def split(self, name: str) -> Split:
        """Images and attributes of `"train"`, `"val"` or `"test"`; prepares them if needed."""
        check_split(name)
        source = self.limited(name, self._source(name))
        return cached_split(self, name, source, on_error=self.on_error, cache_dir=self.cache_dir)

    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """Crops and resizes one image in the same way as the stored images: uint8 `(C, H, W)`."""
        return load_image(image, self.image_shape, self.crop)
