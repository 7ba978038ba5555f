"""Two-sample tests of the aggregate posterior against the prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.evaluation.pairs import checked, squared_distances
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.text import counted

__all__ = ["kolmogorov_smirnov", "marginals", "mmd_test", "worst_projections"]

#: Largest number of draws per side in one test: the memory grows with its square.
LIMIT = 1000
#: Least number of draws per side.
LEAST = 20
#: Frequencies at which characteristic functions are compared.
FREQUENCIES = 48
#: Number of compared principal directions with the most variance, and with the least variance.
DIRECTIONS = 8


def kolmogorov_smirnov(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""The Kolmogorov-Smirnov distance of two samples per column, with p-values.

    $$\sup_t |F_x(t) - F_y(t)|$$

    for the empirical distribution functions. P-values come from the limiting distribution with
    Stephens' correction for small samples: exact to a few per cent for 20 or more draws of each.

    Args:
        x: a sample `(N, D)`.
        y: another `(M, D)`.

    Returns:
        Distances and p-values, each `(D,)`.

    References:
        Use of the Kolmogorov-Smirnov, Cramer-Von Mises and Related Statistics Without Extensive
        Tables (Stephens, 1970, section 2), https://doi.org/10.1111/j.2517-6161.1970.tb00821.x

    Example:
        >>> x = np.arange(100.0)[:, None]
        >>> distance, p = kolmogorov_smirnov(x, x + 50)
        >>> round(float(distance[0]), 6), bool(p[0] < 1e-10)
        (0.5, True)
    """
    from scipy.stats import ks_2samp

    pairs = zip(*(z.T for z in checked(x, y, least=(2, 2))), strict=True)
    found = [ks_2samp(*pair, method="asymp") for pair in pairs]
    return np.array([own.statistic for own in found]), np.array([own.pvalue for own in found])


def smallest_difference(first: int, second: int, level: float) -> float:
    """The Kolmogorov-Smirnov distance with a given p-value.

    Args:
        first: number of draws of one sample.
        second: number of draws of the other.
        level: the p-value.

    Example:
        >>> round(smallest_difference(500, 500, 0.05), 3)
        0.085
    """
    from scipy.stats import kstwo

    return float(kstwo.isf(level, round(first * second / (first + second))))


def marginals(
    aggregate: np.ndarray, prior: np.ndarray, names: Sequence[str] | None = None
) -> pandas.DataFrame:
    """Compares each dimension of the aggregate posterior with that of the prior.

    Args:
        aggregate: one draw of the guide per image, `(N, D)`.
        prior: draws of the model, `(M, D)`.
        names: of the dimensions; by default their indices.

    Returns:
        One row per dimension: `distance` (Kolmogorov-Smirnov), `p_value`, `adjusted` (the p-value
        times D, at most 1: Bonferroni's correction), and the moments `mean`, `sd`, `prior_mean`
        and `prior_sd`.

    Raises:
        InputError: if one side has fewer than 20 draws.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(500, 2, 2))
        >>> found = marginals(z[:, 0] * [1, 2], z[:, 1])
        >>> (found.adjusted < 0.01).tolist()
        [False, True]
    """
    aggregate, prior = _enough(aggregate, prior)
    distance, p_value = kolmogorov_smirnov(aggregate, prior)
    columns = {
        "distance": distance,
        "p_value": p_value,
        "adjusted": np.minimum(1, p_value * len(p_value)),
        "mean": aggregate.mean(0),
        "sd": aggregate.std(0, ddof=1),
        "prior_mean": prior.mean(0),
        "prior_sd": prior.std(0, ddof=1),
    }
    index = pandas.Index(range(len(distance)) if names is None else list(names), name="dimension")
    return pandas.DataFrame(columns, index)


@dataclass(frozen=True)
class MMDTest:
    """The result of a kernel two-sample test.

    Attributes:
        value: the unbiased estimate of the squared MMD.
        p_value: the share of permutations with a discrepancy at least as large.
        bandwidth: of the Gaussian kernel.
    """

    value: float
    p_value: float
    bandwidth: float


def mmd_test(
    x: np.ndarray,
    y: np.ndarray,
    *,
    bandwidth: float | None = None,
    permutations: int = 500,
    seed: int = 0,
    limit: int = LIMIT,
) -> MMDTest:
    r"""A permutation test of whether two samples have the same distribution, by MMD.

    $$\frac{\sum_{i \neq j} k(x_i, x_j)}{N (N - 1)} + \frac{\sum_{i \neq j} k(y_i, y_j)}{M (M - 1)}
    - \frac{2 \sum_{i, j} k(x_i, y_j)}{N M}, \quad
    k(x, y) = e^{-\lVert x - y \rVert^2 / 2 h^2}$$

    where h is by default the median distance of two draws of the pooled samples. The p-value is
    the share of permutations (the true labels among them) with a discrepancy at least as large;
    it is valid for any sample sizes. In many dimensions the kernel is more sensitive to common
    shifts and scales than to the shape of a single dimension.

    Args:
        x: a sample `(N, D)`.
        y: another `(M, D)`.
        bandwidth: h, positive.
        permutations: number of random permutations of the labels.
        seed: seed of the permutations and of the subsets.
        limit: the largest number of draws used per side.

    Raises:
        InputError: if one side has fewer than 20 draws, or all draws are equal.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012, equation 3; the median, section 8),
        https://jmlr.org/papers/v13/gretton12a.html

    Example:
        >>> z = np.random.default_rng(0).normal(size=(2, 100, 3))
        >>> mmd_test(z[0], z[1]).p_value > 0.05, mmd_test(z[0], z[1] + 1).p_value < 0.01
        (True, True)
    """
    x, y = _enough(x, y)
    random = np.random.default_rng(seed)
    x, y = (z[random.permutation(len(z))[:limit]] for z in (x, y))
    pooled = np.concatenate([x, y])
    pooled -= pooled.mean(0)
    squares = np.maximum(squared_distances(pooled, pooled), 0)
    if bandwidth is None:
        bandwidth = float(np.sqrt(np.median(squares[np.triu_indices(len(squares), 1)])))
    if not bandwidth > 0:
        raise InputError(
            f"bandwidth {bandwidth}: allowed is above 0 (the default is 0 if draws are equal)"
        )
    kernel = np.exp(squares / (-2 * bandwidth**2))
    np.fill_diagonal(kernel, 0)
    labels = np.zeros((permutations + 1, len(kernel)))
    labels[:, : len(x)] = 1
    labels[1:] = random.permuted(labels[1:], axis=1)
    values = _discrepancies(kernel, labels)
    # The tolerance counts permutations with the same discrepancy despite rounding.
    as_large = (values[1:] >= values[0] - 1e-12).sum()
    return MMDTest(float(values[0]), float((1 + as_large) / (1 + permutations)), bandwidth)


def _discrepancies(kernel: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The squared discrepancy for each row of labels; the kernel's diagonal must be zero."""
    n = labels[0].sum()
    m = len(kernel) - n
    own = labels @ kernel
    xx, xy = (own * labels).sum(1), (own * (1 - labels)).sum(1)
    yy = kernel.sum() - xx - 2 * xy
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


@dataclass(frozen=True)
class Projections:
    """The planes in which an aggregate posterior differs most from the prior.

    Attributes:
        table: one row per plane, the worst first: its axes `first` and `second`; the `mmd` and
            `p_value` on draws that were not used to find it, and the p-value `adjusted` for the
            number of planes (Bonferroni).
        aggregate: these draws of the guide in each plane, `(N, 2)`, in standard deviations of
            the prior.
        prior: the draws of the model in each plane, in the same units.
    """

    table: pandas.DataFrame
    aggregate: list[np.ndarray]
    prior: list[np.ndarray]


def worst_projections(
    aggregate: np.ndarray,
    prior: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    count: int = 3,
    permutations: int = 500,
    seed: int = 0,
) -> Projections:
    r"""The planes in which the aggregate posterior differs most from the prior, with valid tests.

    Candidates are the planes of all pairs of dimensions, and of all pairs of principal
    directions of the encodings (with the most and the least variance, in units of the prior). A
    quarter of the draws gives the directions, another quarter the planes with the largest
    difference:

    $$\frac{1}{F} \sum_f |\hat\phi_q(w_f) - \hat\phi_p(w_f)|^2, \quad w_f \sim \mathcal{N}(0, 1)$$

    with the empirical characteristic functions in the plane. This is a Monte Carlo estimate of
    the squared maximum mean discrepancy of a Gaussian kernel of bandwidth 1, with F frequencies.
    `mmd_test` then tests the worst planes, of which no two share an axis, on the other half of
    the draws. So the search does not bias the p-values.

    Args:
        aggregate: one draw of the guide per image, `(N, D)`.
        prior: draws of the model, `(M, D)`.
        names: of the dimensions; by default their indices.
        count: the largest number of planes; few dimensions have fewer, one has none.
        permutations: of each test.
        seed: seed of frequencies and tests.

    Raises:
        InputError: if one side has fewer than 80 draws.

    References:
        Random Features for Large-Scale Kernel Machines (Rahimi and Recht, 2007, section 3), and
        for the test A Kernel Two-Sample Test (Gretton et al., 2012)

    Example:
        >>> z = np.random.default_rng(0).normal(size=(2, 800, 4))
        >>> z[0, :, 3] = z[0, :, 1] + 0.5 * z[0, :, 3]  # They depend on each other.
        >>> len(worst_projections(z[0], z[1]).table.query("adjusted < 0.01")) > 0
        True
    """
    random = np.random.default_rng(seed)
    aggregate, prior = _enough(aggregate, prior, 4 * LEAST)
    quarters = [(aggregate[start::4], prior[start::4]) for start in (0, 2)]
    labels = [str(name) for name in (range(aggregate.shape[1]) if names is None else names)]
    centre, axes, labels = _axes(*quarters[0], labels)
    x, y = [(z - centre) @ axes for z in quarters[1]]
    gaps = _plane_gaps(x, y, random)
    test_q, test_p = [(z[1::2] - centre) @ axes for z in (aggregate, prior)]
    rows, planes = [], [list(pair) for pair in _largest(gaps, aggregate.shape[1], count)]
    both = [[z[:, plane] for plane in planes] for z in (test_q, test_p)]
    for plane, x, y in zip(planes, *both, strict=True):
        test = mmd_test(x, y, bandwidth=1.0, permutations=permutations, seed=seed)
        adjusted = min(1.0, test.p_value * len(planes))
        rows.append((*[labels[place] for place in plane], test.value, test.p_value, adjusted))
    table = pandas.DataFrame(rows, columns=["first", "second", "mmd", "p_value", "adjusted"])
    return Projections(table, *both)


def _axes(
    aggregate: np.ndarray, prior: np.ndarray, names: list[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The prior's mean, axes `(D, L)` along which it has unit variance, and their labels."""
    centre, scale = prior.mean(0), np.maximum(prior.std(0), 1e-12)
    axes = np.diag(1 / scale)
    if len(scale) > 2:  # Two dimensions have one plane only.
        # The decomposition orders directions by decreasing variance.
        directions = np.linalg.svd((aggregate - aggregate.mean(0)) / scale, full_matrices=False)[2]
        most = min(DIRECTIONS, len(directions) // 2)
        places = [*range(most), *range(len(directions) - most, len(directions))]
        found = directions[places].T / scale[:, None]
        found /= np.maximum(((prior - centre) @ found).std(0), 1e-12)
        axes = np.hstack([axes, found])
        names = names + [f"direction {place + 1} of {len(directions)}" for place in places]
    return centre, axes, names


def _plane_gaps(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The difference of two samples `(N, L)` in the plane of each pair of columns, `(L, L)`."""
    total = np.zeros((x.shape[1], x.shape[1]))
    x, y = (1j * z.astype(np.float32) for z in (x, y))
    for first, second in random.normal(size=(FREQUENCIES, 2)).astype(np.float32):
        own = [np.exp(first * z).T @ np.exp(second * z) / len(z) for z in (x, y)]
        total += np.square(np.abs(own[0] - own[1]))
    return total / FREQUENCIES


def _largest(gaps: np.ndarray, dimensions: int, count: int) -> list[tuple[int, int]]:
    """The planes of largest difference that share no axis: two dimensions or two directions."""
    of_dimensions = np.arange(len(gaps)) < dimensions
    allowed = of_dimensions[:, None] == of_dimensions
    gaps = np.where(np.triu(allowed, 1), gaps, -1)
    found: list[tuple[int, int]] = []
    while len(found) < count and gaps.max(initial=-1) >= 0:
        pair = np.unravel_index(gaps.argmax(), gaps.shape)
        found.append((int(pair[0]), int(pair[1])))
        for place in pair:
            gaps[place], gaps[:, place] = -1, -1
    return found


def _enough(
    aggregate: np.ndarray, prior: np.ndarray, least: int = LEAST
) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of floats; raises `InputError` if one side has too few draws."""
    for z, of in ((aggregate, "the aggregate posterior"), (prior, "the prior")):
        if len(z) < least:
            raise InputError(
                f"{counted(len(z), 'draw')} of {of} are too few to compare: allowed is {least} "
                "or more"
            )
    return checked(aggregate, prior, least=(least, least))
