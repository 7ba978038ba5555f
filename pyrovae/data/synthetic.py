"""Drawn faces with known factors, without a download."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from pyrovae.data.base import SPLITS, Source, fingerprint
from pyrovae.data.cached import CachedImages
from pyrovae.data.faces import FACTORS, draw_faces
from pyrovae.utils.errors import InputError

__all__ = ["FACTORS", "SyntheticFaces", "draw_faces"]

_BLOCK = 128


class SyntheticFaces(CachedImages):
    """Drawn faces, with the factors that they were drawn from as attributes.

    Use it for first experiments: it needs no download, and the true factors are known.

    The factors are independent and uniform on [-1, 1]; `draw_faces` describes each of them. Image
    `i` of a split depends on `(seed, split, i)` only: a larger data set begins with a smaller one.
    The first access to a split draws its images (seconds for ten thousand) and stores them in the
    cache.

    Args:
        num_train: number of training images.
        num_val: number of validation images.
        num_test: number of test images.
        image_size: height and width of the images, at least 16.
        seed: seed of the factors, not negative.
        limit: number of training images to use, drawn at random; by default all. Validation and
            test images stay the same.
        cache_dir: the folder of prepared images; by default `PYROVAE_CACHE`, or `pyrovae` in the
            user's cache folder.

    Raises:
        InputError: if an argument is too small.

    Example:
        >>> faces = SyntheticFaces(num_train=8, image_size=32, seed=0)
        >>> train = faces.split("train")
        >>> train.images.shape, train.attributes.shape, train.names[-1]
        ((8, 3, 32, 32), (8, 15), 'train/00007')
        >>> bool((draw_faces(train.attributes, image_size=32) == train.images).all())
        True
    """

    def __init__(
        self,
        num_train: int = 10000,
        num_val: int = 1000,
        num_test: int = 1000,
        image_size: int = 64,
        seed: int = 0,
        limit: int | None = None,
        cache_dir: str | None = None,
    ) -> None:
        least = {"num_train": 1, "num_val": 1, "num_test": 1, "image_size": 16, "seed": 0}
        values = (num_train, num_val, num_test, image_size, seed)
        for (name, bound), value in zip(least.items(), values, strict=True):
            if value < bound:
                raise InputError(f"{name} is {value}; it must be at least {bound}")
        # A mirrored face has other factors (gaze, yaw, tilt and light).
        shape = (3, image_size, image_size)
        super().__init__(shape, limit=limit, factors=FACTORS, cache_dir=cache_dir)
        self.seed = seed
        self._sizes = dict(zip(SPLITS, (num_train, num_val, num_test), strict=True))

    def settings(self) -> dict[str, Any]:
        """The seed, which determines the drawings together with the image size."""
        return {"seed": self.seed}

    def _source(self, name: str) -> Source:
        size = self._sizes[name]
        rng = np.random.default_rng([self.seed, SPLITS.index(name)])
        # Filled row by row from one stream, so the first rows do not depend on the size.
        factors = 2 * rng.random((size, len(FACTORS)), np.float32) - 1

        @lru_cache(maxsize=8)  # Faces are drawn in blocks and read one after the other.
        def block(start: int) -> np.ndarray:
            return draw_faces(factors[start : start + _BLOCK], self.image_shape[-1])

        def read(item: int) -> np.ndarray:
            return block(item - item % _BLOCK)[item % _BLOCK]

        names = [f"{name}/{i:05d}" for i in range(size)]
        # Two faces in the fingerprint detect a change of `draw_faces`.
        return Source(names, read, factors, FACTORS, fingerprint(draw_faces(factors[:2])))
