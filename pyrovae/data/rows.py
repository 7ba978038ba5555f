"""A selection of images that is read when it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Rows", "select"]

_COPIED_BYTES = 2**26


class Rows:
    """Rows of an array, in a given order, without a copy of them.

    Slices and indices return copies, as NumPy's index arrays do.

    Args:
        images: array `(N, ...)`, memory-mapped or not.
        rows: the indices of the rows.

    Example:
        >>> Rows(np.arange(10), np.array([7, 3]))[1:]
        array([3])
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        self.images, self.rows = images, rows
        self.shape = (len(rows), *images.shape[1:])
        self.dtype, self.ndim = images.dtype, images.ndim
        self.nbytes = len(rows) * images[0].nbytes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        return np.array(self.images[self.rows[key]], order="C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


def select(images: np.ndarray, rows: np.ndarray | None) -> Any:
    """Returns rows of an array: a copy if they are few, else `Rows`; the array itself for None."""
    if rows is None:
        return images
    chosen = Rows(images, rows)
    return chosen[:] if chosen.nbytes <= _COPIED_BYTES else chosen
