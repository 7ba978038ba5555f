"""Rows of arrays: chosen, gathered in bounded memory, or selected without a copy."""

from __future__ import annotations

import mmap
import weakref
from typing import Any

import numpy as np

__all__ = ["RESIDENT_BYTES", "Rows", "gather", "one_per_group", "select", "spread_rows"]

#: The bytes of a mapped file that may stay in memory.
RESIDENT_BYTES = 256 * 2**20
_COPIED_BYTES = 2**26
_FAULT_BYTES = 2**17  # read into memory by page faults around the ends of a row

_resident: weakref.WeakKeyDictionary[mmap.mmap, int] = weakref.WeakKeyDictionary()


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
        return gather(self.images, self.rows[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


def spread_rows(total: int, count: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Returns `count` indices from 0 to `total` - 1, spread evenly; all if `count` is 0.

    Args:
        total: the number of rows.
        count: the number of indices.
        groups: the group of each row; the indices are spread over as many groups as possible.

    Example:
        >>> spread_rows(6, 3), spread_rows(6, 3, np.array([0, 0, 0, 0, 1, 2]))[1:]
        (array([0, 2, 5]), array([4, 5]))
    """
    if not count or count >= total:
        return np.arange(total)
    if groups is None:
        return np.linspace(0, total - 1, count).astype(int)
    turns = _turns(groups)
    last = np.searchsorted(np.bincount(turns).cumsum(), count)
    whole, part = np.flatnonzero(turns < last), np.flatnonzero(turns == last)
    return np.sort(np.append(whole, part[spread_rows(len(part), count - len(whole))]))


def one_per_group(groups: np.ndarray) -> np.ndarray:
    """Returns the indices of one row of each group, drawn from a fixed seed.

    Example:
        >>> len(one_per_group(np.array(["a", "a", "b", "a"])))
        2
    """
    return np.flatnonzero(_turns(groups) == 0)


def _turns(groups: np.ndarray) -> np.ndarray:
    """For each row the number of rows of its group before it, in a random order."""
    mixed = np.random.default_rng(0).permutation(len(groups))
    own = np.unique(np.asarray(groups)[mixed], return_inverse=True)[1]
    order = np.argsort(own, kind="stable")
    turns = np.empty(len(groups), int)
    turns[mixed[order]] = np.arange(len(groups)) - np.searchsorted(own[order], own[order])
    return turns


def select(images: np.ndarray, rows: np.ndarray | None) -> Any:
    """Returns rows of an array: a copy if they are few, else `Rows`; the array itself for None."""
    if rows is None:
        return images
    chosen = Rows(images, rows)
    return chosen[:] if chosen.nbytes <= _COPIED_BYTES else chosen


def gather(images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Copies rows of an array into memory; bounds the memory that a mapped file takes.

    Every page that is read from a memory map counts as memory of this process. After 256 MB of
    pages, a larger map releases them. The file stays in the operating system's cache.

    Args:
        images: array `(N, ...)`, memory-mapped or not.
        indices: integer array `(B,)`.

    Returns:
        Array `(B, ...)`.
    """
    if isinstance(images, Rows):
        return gather(images.images, images.rows[indices])
    plain = np.asarray(images)
    if plain.flags.c_contiguous:
        rows = plain.take(indices, axis=0)  # Faster than plain[indices].
    else:  # `take` would copy the whole array first.
        rows = np.ascontiguousarray(plain[indices])
    mapped = _mapping(images)
    if mapped is not None and len(mapped) > RESIDENT_BYTES:
        touched = _resident.get(mapped, 0) + rows.nbytes + _FAULT_BYTES * np.size(indices)
        if touched >= RESIDENT_BYTES:
            mapped.madvise(mmap.MADV_DONTNEED)
            touched = 0
        _resident[mapped] = touched
    return rows


def _mapping(images: np.ndarray) -> mmap.mmap | None:
    """The memory map of an array if its pages can be released and read again, else None."""
    array: Any = images
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    if not isinstance(array, np.memmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    # Pages of a private map ("c") may hold changes, which releasing them would undo.
    return getattr(array, "_mmap", None) if array.mode in ("r", "r+") else None
