"""Helpers of comparisons of two sets of features: checks, chunks and the jackknife."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyrovae.utils.errors import InputError

__all__ = ["checked", "chunks", "jackknife", "squared_distances"]

_CHUNK = 512  # rows of a pairwise matrix in memory at once


def jackknife(*left_out: np.ndarray) -> float:
    """The jackknife standard error of a statistic of one or several sets.

    It is exact for means; for other statistics it is too large on average rather than too small.

    Args:
        *left_out: one array per set: the statistic without each of its members in turn.

    References:
        The Jackknife Estimate of Variance (Efron and Stein, 1981),
        https://doi.org/10.1214/aos/1176345462

    Example:
        >>> values = np.array([1.0, 3.0])
        >>> jackknife((values.sum() - values) / 1)  # of their mean
        1.0
    """
    return float(np.sqrt(sum((len(values) - 1) * values.var() for values in left_out)))


def chunks(count: int, most: int = _CHUNK) -> Iterator[slice]:
    """Slices of at most `most` rows, 512 by default, that cover `count` rows."""
    return (slice(start, start + most) for start in range(0, count, most))


def checked(
    real: np.ndarray, samples: np.ndarray, least: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64; raises `InputError` for too few rows, wrong shapes or infinite values."""
    x, y = np.asarray(real, np.float64), np.asarray(samples, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1:] != y.shape[1:] or not x.shape[1]:
        raise InputError(f"features of shapes {x.shape} and {y.shape}: must be (N, F) and (M, F)")
    for features, what, bound in zip((x, y), ("real images", "samples"), least, strict=True):
        if len(features) < bound:
            raise InputError(f"{len(features)} {what}: this needs at least {bound}")
        if not np.isfinite(features).all():
            raise InputError(f"features of the {what}: some are not finite numbers")
    return x, y


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The squared distances `(N, M)` of points; rounding may make small ones negative."""
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)
    squares -= 2 * (x @ y.T)
    return squares
