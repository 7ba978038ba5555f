"""Reads the stored values of many files, on all cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pyrovae.data.images import stored_values
from pyrovae.data.workers import each_in_order
from pyrovae.utils.errors import InputError

__all__ = ["all_values"]


def all_values(paths: Sequence[Path], channels: int, skip: bool) -> Iterator[np.ndarray]:
    """The values of each image before they are mapped to 8 bits.

    Args:
        paths: the files, or pages of files.
        channels: the number of channels of the data set.
        skip: whether to leave out images that cannot be read.

    Raises:
        InputError: for the first image that cannot be read.
    """

    def values(item: int) -> np.ndarray | None:
        try:
            return stored_values(paths[item], channels)
        except InputError:
            if skip:
                return None
            raise

    return (own for own in each_in_order(values, len(paths)) if own is not None)
