"""A data set whose images are numbers, and what its cache holds."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.base import ImageData, Source, Split
from pyrovae.data.cache import cached_split
from pyrovae.utils.errors import InputError

SHAPE = (1, 2, 3)


class Numbered(ImageData):
    """Item `i` is an image of value `i`; those in `bad` cannot be read."""

    def __init__(self, where: Path, count: int = 100, version: int = 0) -> None:
        self.image_shape = SHAPE
        self.flip = False
        self.where, self.count, self.version = where, count, version
        self.bad: tuple[int, ...] = ()
        self.stamp = "first"
        self.on_error: Any = "raise"
        self._reads = multiprocessing.Value("i", 0)  # reading may happen in other processes

    @property
    def reads(self) -> int:
        return int(self._reads.value)

    def settings(self) -> dict[str, Any]:
        return {"version": self.version, "where": self.where}

    def preprocess(self, image: Any) -> np.ndarray:
        raise NotImplementedError

    def read(self, item: int) -> np.ndarray:
        with self._reads.get_lock():
            self._reads.value += 1
        if item in self.bad:
            raise InputError(f"/images/{item}.jpg: not an image")
        return np.full(SHAPE, item % 256, np.uint8)

    def split(self, name: str) -> Split:
        names = [f"{i}.jpg" for i in range(self.count)]
        attributes = np.arange(self.count, dtype=np.float32)[:, None]
        source = Source(names, self.read, attributes, ("number",), self.stamp)
        return cached_split(self, name, source, on_error=self.on_error, cache_dir=self.where)


def entries(folder: Path) -> set[str]:
    """Names of the split folders and leftovers in the only data set of a cache."""
    (data,) = folder.iterdir()
    return {path.name for path in data.iterdir()}
