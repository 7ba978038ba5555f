"""The base of data sets whose images are prepared once, and then come from the cache."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyrovae.data.base import ImageData, Source, Split, check_crop, check_on_error, check_split
from pyrovae.data.cache import cached_split
from pyrovae.data.images import load_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CachedImages"]


class CachedImages(ImageData):
    """A data set whose splits come from the cache, built there when they are first asked for.

    A subclass says what a split is made of, and in `settings` what decides the stored pixels.

    Args:
        image_shape: `(C, H, W)` of the stored images.
        flip: whether training mirrors images at random.
        crop: side of the centred square that is kept of each image; None keeps the largest part
            of the proportions of `image_shape`.
        on_error: whether an image that cannot be read is an error, or is left out with a warning.
        cache_dir: where prepared images are kept, see `cache_root`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        flip: bool = False,
        crop: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
    ) -> None:
        check_crop(crop)
        check_on_error(on_error)
        self.image_shape = image_shape
        self.flip = flip
        self.crop = crop
        self.on_error = on_error
        self.cache_dir = cache_dir

    @abstractmethod
    def _source(self, split: str) -> Source:
        """What a split is made of."""

    def split(self, name: str) -> Split:
        """Images and attributes of `"train"`, `"val"` or `"test"`, prepared if need be."""
        check_split(name)
        return cached_split(
            self, name, self._source(name), on_error=self.on_error, cache_dir=self.cache_dir
        )

    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """One image, cropped and resized as the stored ones: uint8 `(C, H, W)`."""
        return load_image(image, self.image_shape, self.crop)
