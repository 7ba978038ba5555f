"""Distances between two sets of features: MMD and the Frechet distance."""

from __future__ import annotations

import numpy as np

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.pairs import checked, chunks, jackknife

__all__ = ["frechet_distance", "mmd"]


def mmd(real: np.ndarray, samples: np.ndarray) -> Estimate:
    r"""The squared maximum mean discrepancy of two sets of features, estimated without bias.

    $$\frac{\sum_{i \neq j} k(x_i, x_j)}{N (N - 1)} + \frac{\sum_{i \neq j} k(y_i, y_j)}{M (M - 1)}
    - \frac{2 \sum_{i, j} k(x_i, y_j)}{N M}, \quad k(x, y) = (x \cdot y / F + 1)^3$$

    It is 0 on average for equal distributions, so it may be negative. With Inception features
    it is the Kernel Inception Distance.

    Args:
        real: features `(N, F)`.
        samples: features `(M, F)`.

    Returns:
        The estimate, with a jackknife error: about 1.5 times too large where both
        distributions are equal, else about right.

    Raises:
        InputError: if one set has fewer than 3 members, or the numbers of features differ.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012, equation 3),
        https://jmlr.org/papers/v13/gretton12a.html; the kernel as in Demystifying MMD GANs
        (Binkowski et al., 2018, section 4), https://arxiv.org/abs/1801.01401

    Example:
        >>> x, y = np.array([[1.0], [0.0], [1.0]]), np.array([[0.0], [0.0], [0.0]])
        >>> round(mmd(x, y).value, 3)  # 20 / 6 + 6 / 6 - 2 * 9 / 9
        2.333
    """
    x, y = checked(real, samples, least=(3, 3))
    n, m = len(x), len(y)
    xx, yy = (_kernel_sums(z, z)[0] - _kernel_of_self(z) for z in (x, y))
    xy, yx = _kernel_sums(x, y)

    def value(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, n: int, m: int) -> np.ndarray:
        return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)

    total = xx.sum(), yy.sum(), xy.sum()
    less_x = value(total[0] - 2 * xx, total[1], total[2] - xy, n - 1, m)
    less_y = value(total[0], total[1] - 2 * yy, total[2] - yx, n, m - 1)
    return Estimate(float(value(*total, n, m)), jackknife(less_x, less_y))


def _kernel_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kernel sums over y for each x, and over x for each y."""
    rows, columns = np.empty(len(x)), np.zeros(len(y))
    for chunk in chunks(len(x)):
        base = x[chunk] @ y.T / x.shape[1] + 1
        kernel = base * base * base  # `**` takes ten times as long.
        rows[chunk] = kernel.sum(1)
        columns += kernel.sum(0)
    return rows, columns


def _kernel_of_self(x: np.ndarray) -> np.ndarray:
    return (np.square(x).mean(1) + 1) ** 3


def frechet_distance(real: np.ndarray, samples: np.ndarray) -> Estimate:
    r"""The squared Frechet distance of two Normals with the moments of the features.

    $$\lVert m_x - m_y \rVert^2 + \operatorname{tr}(S_x + S_y - 2 (S_x S_y)^{1/2})$$

    It is biased upwards; the bias grows with the number of features and falls with the number of
    images. Compare only values of equal numbers, with more images than features. With fewer
    images the covariance matrices are singular and the bias dominates. There is no standard
    error: the value is not a mean, and its noise is small compared with the bias.

    Args:
        real: features `(N, F)`.
        samples: features `(M, F)`.

    Returns:
        The estimate, without an error.

    Raises:
        InputError: if one set has fewer than 2 members, or the numbers of features differ.

    References:
        GANs Trained by a Two Time-Scale Update Rule (Heusel et al., 2017, equation 6; it is FID
        only with the features of the network that they use),
        https://arxiv.org/abs/1706.08500

    Example:
        >>> x = np.array([[-1.0], [1.0]])
        >>> round(frechet_distance(x, 2 * x + 3).value, 6)  # means 0 and 3, variances 2 and 8
        11.0
    """
    x, y = checked(real, samples, least=(2, 2))
    offset = np.square(x.mean(0) - y.mean(0)).sum()
    # S = R^T R: then the trace of the root is the sum of the singular values of R_x R_y^T, without
    # square roots of eigenvalues that rounding makes negative.
    x, y = (np.linalg.qr(z - z.mean(0), mode="r") / np.sqrt(len(z) - 1) for z in (x, y))
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    value = offset + np.square(x).sum() + np.square(y).sum() - 2 * shared
    return Estimate(max(0.0, float(value)))
