"""Standard errors."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["error_of_mean"]


def error_of_mean(values: np.ndarray, groups: np.ndarray | None = None) -> float:
    r"""The standard error of the mean of values; NaN for a single group.

    Values of different groups g are independent, those of one group may be correlated:

    $$\text{variance} = \frac{G}{G - 1} \frac{1}{N^2} \sum_g
    \Big(\sum_{i \in g} (x_i - \bar x)\Big)^2$$

    Args:
        values: `(N,)`.
        groups: the group of each value, such as a patient; by default each value is one.

    References:
        Longitudinal data analysis using generalized linear models (Liang and Zeger, 1986,
        Biometrika 73)

    Example:
        >>> error_of_mean(np.array([1.0, 3.0]))
        1.0
        >>> error_of_mean(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
        1.0
    """
    apart = np.asarray(values, float) - np.mean(values)
    if groups is not None:
        apart = np.bincount(np.unique(groups, return_inverse=True)[1], apart)
    count = len(apart)
    if count < 2:
        return math.nan
    return math.sqrt(count / (count - 1) * float(apart @ apart)) / len(values)
