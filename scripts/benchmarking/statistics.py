"""Medians, ratios and spreads of timings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Spread", "break_even", "ratio", "spread"]


class Spread(NamedTuple):
    """A median with its quartiles."""

    value: float
    low: float
    high: float

    def per(self, amount: float) -> Spread:
        """Returns `amount` divided by the values: images per second from seconds per batch."""
        return Spread(amount / self.value, amount / self.high, amount / self.low)


def spread(values: Sequence[float]) -> Spread:
    """The median and the quartiles of numbers.

    Example:
        >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
        Spread(value=3.0, low=2.0, high=4.0)
    """
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return Spread(float(middle), float(low), float(high))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The median and the quartiles of the ratios of two timings per round.

    A temporary slowdown of the machine affects both timings of a round, but not their ratio.

    Example:
        >>> ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]).value
        2.0
    """
    return spread([a / b for a, b in zip(above, below, strict=True)])


def break_even(compile_seconds: float, slow: float, fast: float) -> float:
    """The number of steps after which compiling has saved as much time as it took.

    Args:
        compile_seconds: the time of compiling.
        slow: seconds per step without compiling.
        fast: seconds per step with compiling.

    Returns:
        The number of steps; infinite if the compiled step is not faster.

    Example:
        >>> break_even(10.0, slow=0.5, fast=0.25)
        40.0
    """
    return compile_seconds / (slow - fast) if slow > fast else math.inf
