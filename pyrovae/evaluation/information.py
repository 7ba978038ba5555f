"""The mutual information of single latent dimensions and known factors of the data, in nats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pyrovae.evaluation.estimates import Estimate
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["mutual_information_gap", "mutual_information_table"]

BINS = 20


def mutual_information_gap(
    codes: np.ndarray | Tensor, factors: np.ndarray | Tensor, bins: int = BINS
) -> Estimate:
    r"""The mutual information gap (MIG) between the two most informative dimensions of a factor.

    $$\text{MIG} = \frac{1}{K} \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}$$

    $z_{(1)}, z_{(2)}$ are the dimensions with the highest and second highest mutual information
    with the factor $v_k$; without a second dimension its term is 0. Codes and factors are made
    discrete: a column of at most `bins` values is kept, any other is cut into `bins` bins of
    equal width between its least and greatest value, as Locatello et al. cut the codes. The
    information is computed from the shares of images per cell. Constant factors are left out.

    The standard error is over images, by the delta method: every term is a ratio of means over
    images of pointwise information. Bins and the two dimensions are held fixed.

    The estimate is biased by the finite number of images. For codes independent of the factors
    it is about $k / (2 N H)$ with one dimension, and at most about $\sqrt{k} / (N H)$ with more,
    for $k = (\text{bins} - 1)^2$: 0.06 and 0.006 for 1,000 images and a uniform factor. The same
    bias of $z_{(2)}$ keeps the gap of codes that equal the continuous factors below 1: about 0.92
    with 15 of them.

    Args:
        codes: one vector for each image, such as posterior means, `(N, D)`.
        factors: the known factors of the same images, `(N, A)`.
        bins: the number of bins of continuous columns, at least 2.

    Returns:
        The gap: 1 if each factor has one dimension with all information, 0 if two dimensions
        have equal information on each factor. Its error is too large if codes are independent of
        the factors, where the gap is only bias.

    Raises:
        InputError: if the shapes do not fit, a value is not finite, there are fewer images
            than bins, or no factor varies.

    References:
        Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018),
        section 4.1, equation 6, https://arxiv.org/abs/1802.04942. They draw z from the
        posterior; here it is the code, as in Challenging Common Assumptions in the Unsupervised
        Learning of Disentangled Representations (Locatello et al., 2019), https://arxiv.org/abs/1811.12359.

    Example:
        >>> factors = np.stack([np.arange(100) % 10, np.arange(100) // 10], 1)
        >>> round(mutual_information_gap(3.0 * factors, factors).value, 6)
        1.0
        >>> mixed = np.stack([factors.sum(1), factors[:, 0] - factors[:, 1]], 1)
        >>> round(mutual_information_gap(mixed, factors).value, 6)
        0.0
    """
    codes, factors = checked(codes, factors, _images_for(bins))
    return Estimate.of(gap_values(codes, varying(factors), bins).mean(1))


def mutual_information_table(
    codes: np.ndarray | Tensor,
    factors: np.ndarray | Tensor,
    names: Sequence[str] | None = None,
    bins: int = BINS,
) -> pandas.DataFrame:
    r"""The mutual information of every factor with every latent dimension, in nats.

    $$I(z_d; v_k) = \sum_{a, b} p(a, b) \log \frac{p(a, b)}{p(a) \, p(b)}$$

    The bins are those of `mutual_information_gap`.

    Args:
        codes: one vector for each image, `(N, D)`.
        factors: the known factors of the same images, `(N, A)`.
        names: of the factors; by default their indices.
        bins: the number of bins of continuous columns, at least 2.

    Returns:
        One row per factor, one column per dimension: `(A, D)`.

    Raises:
        InputError: if the shapes do not fit, a value is not finite, or there are fewer images
            than bins.

    References:
        Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018),
        section 4.1, equation 5, https://arxiv.org/abs/1802.04942.

    Example:
        >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> found = mutual_information_table(factors, factors, ["age", "smile"], bins=2)
        >>> print(found.round(3).to_string(index_names=False))
                   0      1
        age    0.693  0.000
        smile  0.000  0.693
    """
    codes, factors = checked(codes, factors, _images_for(bins), names)
    cells = _discrete(codes, bins)
    rows = [_information(cells, factor).mean(0) for factor in _discrete(factors, bins)]
    index = pandas.Index(range(len(rows)) if names is None else list(names), name="factor")
    return pandas.DataFrame(rows, index=index, columns=pandas.RangeIndex(len(cells), name="dim"))


def checked(
    codes: np.ndarray | Tensor,
    factors: np.ndarray | Tensor,
    least: int,
    names: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of floats; raises `InputError` for shapes or values that no score allows."""
    codes, factors = np.asarray(codes, float), np.asarray(factors, float)
    shapes = f"got {codes.shape} and {factors.shape}"
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
        raise InputError(f"codes must be (N, D) and factors (N, A) of the same images, {shapes}")
    if not codes.shape[1] or not factors.shape[1]:
        raise InputError(f"codes and factors need at least one column each, {shapes}")
    if len(codes) < least:
        raise InputError(
            f"{len(codes)} images are too few to compare with attributes: {least} needed"
        )
    if not (np.isfinite(codes).all() and np.isfinite(factors).all()):
        raise InputError("codes and factors must be finite, found NaN or infinity")
    if names is not None and not len(names) == len(set(names)) == factors.shape[1]:
        got = ", ".join(map(str, names))
        raise InputError(f"{factors.shape[1]} factors need as many different names, got {got}")
    return codes, factors


def varying(factors: np.ndarray) -> np.ndarray:
    """The factors without the constant ones."""
    found = factors[:, np.ptp(factors, 0) > 0]
    if not found.shape[1]:
        raise InputError(f"none of {factors.shape[1]} factors varies over {len(factors)} images")
    return found


def _images_for(bins: int) -> int:
    if bins < 2:
        raise InputError(f"bins must be at least 2, got {bins}")
    return bins


def ratio_values(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Values whose mean is the ratio of two means, with the ratio's variance (delta method)."""
    with np.errstate(invalid="ignore", divide="ignore"):  # Runs that diverged: inf, and 0 / 0.
        ratio = top.mean(0) / bottom.mean(0)
        return ratio + (top - ratio * bottom) / bottom.mean(0)


def to_unit(columns: np.ndarray) -> np.ndarray:
    """Each column scaled to [0, 1]; constant columns are 0."""
    reach = np.ptp(columns, 0)
    return (columns - columns.min(0)) / np.where(reach > 0, reach, 1)


def _discrete(columns: np.ndarray, bins: int) -> list[np.ndarray]:
    found = []
    for column, unit in zip(columns.T, to_unit(columns).T, strict=True):
        values, places = np.unique(column, return_inverse=True)
        cut = np.minimum((unit * bins).astype(int), bins - 1)
        found.append(places if len(values) <= bins else cut)
    return found


def _information(cells: Sequence[np.ndarray], factor: np.ndarray) -> np.ndarray:
    """The pointwise mutual information of cells and factor per image `(N, D)`; its mean is I."""
    n, width = len(factor), factor.max() + 1
    share = np.bincount(factor)[factor] / n
    found = np.empty((n, len(cells)))
    for dim, cell in enumerate(cells):
        joint = cell * width + factor
        found[:, dim] = np.log(np.bincount(joint)[joint] / (np.bincount(cell)[cell] * share))
    return found


def gap_values(codes: np.ndarray, factors: np.ndarray, bins: int) -> np.ndarray:
    """Values per image and factor `(N, K)`: the mean is the gap, the spread gives its error."""
    cells, found = _discrete(codes, bins), []
    for factor in _discrete(factors, bins):
        surprise = _information([factor], factor)[:, 0]  # Its mean is the factor's entropy.
        information = _information(cells, factor)
        second, top = np.argsort([0.0, *information.mean(0)], kind="stable")[-2:]
        information = np.insert(information, 0, 0.0, axis=1)
        ahead = information[:, top] - information[:, second]
        found.append(ratio_values(ahead, surprise))
    return np.stack(found, 1)
