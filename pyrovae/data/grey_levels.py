"""Counts the grey values that a data set uses, and warns of few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyrovae.utils.log import warn

__all__ = ["GreyLevels", "warn_of_few"]


class GreyLevels:
    """Counts the grey values that a data set uses, up to `FEW`.

    Example:
        >>> levels = GreyLevels()
        >>> levels.add(np.array([[0, 3], [16, 3]], np.uint8))
        >>> levels.few()
        [0, 3, 16]
    """

    #: Photographs and scans with fewer grey values have lost detail.
    FEW = 64

    def __init__(self) -> None:
        self._used = np.zeros(256, bool)

    def add(self, images: np.ndarray) -> None:
        """Adds uint8 images of any shape."""
        if self._used.sum() < self.FEW:
            self._used[images.reshape(-1)] = True

    def few(self) -> list[int] | None:
        """The used grey values if there are fewer than `FEW`, and not black and white."""
        levels = np.flatnonzero(self._used).tolist()
        return levels if len(levels) < self.FEW and levels != [0, 255] else None


def warn_of_few(data: object, levels: Sequence[int] | None) -> None:
    """Warns that the training images use few grey values.

    Args:
        data: the data set.
        levels: these grey values, as `GreyLevels.few` returns them.
    """
    if levels:
        warn(
            f"{type(data).__name__}: the training images use only {len(levels)} of 256 grey "
            f"levels, from {levels[0]} to {levels[-1]}; --data.black and --data.white (numbers, "
            "or auto) choose the stored values that become 0 and 255; by default 0 and 65535 for "
            "integers of more than 8 bits, 0 and 1 for floats"
        )
