"""Medians, ratios and spreads of timings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Spread", "break_even", "ratio", "spread"]


class Spread(NamedTuple):
    """A median between its quartiles."""

    value: float
    low: float
    high: float

    def per(self, amount: float) -> Spread:
        """That amount divided by it: images a second of seconds a batch."""
        return Spread(amount / self.value, amount / self.high, amount / self.low)


def spread(values: Sequence[float]) -> Spread:
    """The median of some numbers, and their quartiles.

    Example:
        >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
        Spread(value=3.0, low=2.0, high=4.0)
    """
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(middle), float(low), float(high))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The median of the ratios of two timings of the same rounds, and their quartiles.

    What slows a machine down for a while slows both timings of a round, and leaves their ratio.

    Example:
        >>> ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]).value
        2.0
    """
    return spread([a / b for a, b in zip(above, below, strict=True)])


def break_even(compile_seconds: float, slow: float, fast: float) -> float:
    """After how many steps compiling has earned back its time.

    Args:
        compile_seconds: what compiling takes.
        slow: seconds a step without it.
        fast: seconds a step with it.

    Returns:
        The number of steps; infinite where compiling makes nothing faster.

    Example:
        >>> break_even(10.0, slow=0.5, fast=0.25)
        40.0
    """
    return compile_seconds / (slow - fast) if slow > fast else math.inf
