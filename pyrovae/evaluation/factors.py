"""Scores of how well single latent dimensions match the known factors of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pyrovae.data import Split
from pyrovae.evaluation import information
from pyrovae.evaluation.estimates import Estimate
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut

__all__ = ["dci", "factor_scores"]

_LEAF = 5  # least number of images per leaf
_LEAST = 4 * _LEAF  # so that a tree fitted to one half can split once


def dci(
    codes: np.ndarray | Tensor,
    factors: np.ndarray | Tensor,
    *,
    num_splits: int = 5,
    num_trees: int = 10,
    seed: int = 0,
) -> dict[str, Estimate]:
    r"""The DCI scores: disentanglement, completeness and informativeness.

    Disentanglement (D) is high if each dimension predicts one factor, completeness (C) if each
    factor is predicted by one dimension, informativeness (I) if factors are predicted well.

    A forest predicts each factor from all codes; $R_{dk}$ is the importance of dimension $d$ to
    factor $k$ (the share of the impurity that its splits remove). With $P_{dk}$ its share of row
    $d$ and $\tilde P_{dk}$ its share of column $k$,

    $$D = \sum_d \rho_d \Big(1 + \sum_k P_{dk} \log_K P_{dk}\Big), \quad
    C = \frac{1}{K} \sum_k \Big(1 + \sum_d \tilde P_{dk} \log_D \tilde P_{dk}\Big), \quad
    I = \frac{1}{K} \sum_k \Big(1 - \frac{e_k}{e^0_k}\Big)$$

    where $\rho_d$ is the share of row $d$ in all importance. With a single factor or dimension
    the term in brackets is 1; a row or column without importance has 0. $e_k$ is the error on
    images that the forest was not fitted to, $e^0_k$ that of the best constant over all images.
    For a factor with two values the error is the share of wrong predictions, so $I$ is an
    accuracy with 0 for the commoner value; for others it is the mean square error, so $I$ is
    $R^2$. $I$ is 1 for exact predictions and may be below 0; the paper gives $e_k$.

    Images are halved `num_splits` times. Forests are fitted to each half and tested on the
    other; D and C are means over all halves. For a mean over images, half the difference of two
    halves has the variance of that mean: the standard error of D and C is the root mean square
    of that over the splits. I is a ratio of means over images, each image with its errors in all
    splits: its standard error is over images, by the delta method, with the forests held fixed: it
    leaves out that other training images give other forests. Importance sums to 1 even if
    a forest predicts badly: read D and C together with I.

    It fits `2 * num_splits * num_trees * K` trees to N / 2 images each: about seven seconds of
    one core for 2,000 images, 32 dimensions and 10 factors.

    Args:
        codes: one vector for each image, such as posterior means, `(N, D)`.
        factors: the known factors of the same images, `(N, A)`; constant ones are left out.
        num_splits: how often the images are halved, at least 1.
        num_trees: trees of a forest, at least 1. All codes are tried at every split of a tree,
            and its leaves hold at least 5 images.
        seed: seed of the halves and the forests.

    Returns:
        `disentanglement`, `completeness` and `informativeness`; the first two are in [0, 1].

    Raises:
        InputError: if the shapes do not fit, a value is not finite, there are fewer than 20
            images, a number is below 1, or no factor varies.

    References:
        A Framework for the Quantitative Evaluation of Disentangled Representations (Eastwood &
        Williams, 2018), section 2, https://openreview.net/forum?id=By-7dz-AZ. Forests are one
        of its two regressors; its depth is chosen by validation, here leaves have a least size.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 2, (200, 2))
        >>> {name: score.value for name, score in dci(factors, factors).items()}
        {'disentanglement': 1.0, 'completeness': 1.0, 'informativeness': 1.0}
    """
    if min(num_splits, num_trees) < 1:
        raise InputError(
            f"num_splits and num_trees must be at least 1, got {num_splits} and {num_trees}"
        )
    codes, factors = information.checked(codes, factors, _LEAST)
    return _dci_scores(*_fits(codes, information.varying(factors), num_splits, num_trees, seed))


def factor_scores(
    codes: np.ndarray | Tensor,
    factors: np.ndarray | Tensor,
    names: Sequence[str],
    seed: int = 0,
    *,
    num_splits: int = 5,
) -> dict[str, Estimate]:
    """All scores of latent dimensions against known factors, on average and by factor.

    Args:
        codes: one vector for each image, such as posterior means, `(N, D)`.
        factors: the known factors of the same images, `(N, A)`; constant ones are left out.
        names: A names of the factors.
        seed: seed of the halves and forests of `dci`.
        num_splits: random halves of the images for `dci`.

    Returns:
        `mutual_information_gap` and the three scores of `dci`; then by factor
        `mutual_information_gap/NAME` and `informativeness/NAME`.

    Raises:
        InputError: as `mutual_information_gap` and `dci`, or if there are not A names.

    References:
        Chen et al. (2018) and Eastwood & Williams (2018): see `mutual_information_gap`, `dci`.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 2, (200, 2))
        >>> for name in factor_scores(factors, factors, ["age", "smile"]):
        ...     print(name)
        mutual_information_gap
        disentanglement
        completeness
        informativeness
        mutual_information_gap/age
        mutual_information_gap/smile
        informativeness/age
        informativeness/smile
    """
    codes, factors = information.checked(codes, factors, _LEAST, names)
    kept = [name for name, vary in zip(names, np.ptp(factors, 0) > 0, strict=True) if vary]
    factors = information.varying(factors)
    gaps = information.gap_values(codes, factors, information.BINS)
    importance, informed = _fits(codes, factors, num_splits, num_trees=10, seed=seed)
    dci_scores = _dci_scores(importance, informed)
    found = {"mutual_information_gap": Estimate.of(gaps.mean(1)), **dci_scores}
    for score, values in (("mutual_information_gap", gaps), ("informativeness", informed)):
        columns = zip(kept, values.T, strict=True)
        found |= {f"{score}/{name}": Estimate.of(column) for name, column in columns}
    return found


def known_rows(split: Split, names: Sequence[str]) -> np.ndarray:
    """The indices of the images of a split whose factors are all known.

    Raises:
        InputError: if there are none.
    """
    rows = np.flatnonzero(np.isfinite(split.attributes[:, split.places(names)]).all(1))
    if not len(rows):
        raise InputError(f"no image has all factors known: {cut(', '.join(names))}")
    return rows


def _fits(
    codes: np.ndarray, factors: np.ndarray, num_splits: int, num_trees: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The importance of each half `(2 S, D, K)`, and the informativeness per image `(N, K)`."""
    rng = np.random.default_rng(seed)
    # Trees compute in float32, where a large mean would cost precision. With values 0 and 1 the
    # squared error of a prediction is 1 if it is wrong, else 0.
    codes, factors = information.to_unit(codes), information.to_unit(factors)
    importance, errors = [], np.zeros(factors.shape)
    for _ in range(num_splits):
        first, second = np.array_split(rng.permutation(len(codes)), 2)
        for seen, unseen in ((first, second), (second, first)):
            draw = int(rng.integers(2**31))
            columns = []
            for factor, error in zip(factors.T, errors.T, strict=True):
                forest = _forest(factor, num_trees, draw)
                forest.fit(codes[seen], factor[seen])
                columns.append(forest.feature_importances_)
                error[unseen] += (forest.predict(codes[unseen]) - factor[unseen]) ** 2
            importance.append(np.stack(columns, 1))
    constant = np.stack([_constant_error(factor) for factor in factors.T], 1)
    return np.stack(importance), information.ratio_values(constant - errors / num_splits, constant)


def _is_binary(factor: np.ndarray) -> bool:
    return len(np.unique(factor)) == 2


def _constant_error(factor: np.ndarray) -> np.ndarray:
    """The error of the best constant for each image."""
    best = factor.mean() > 0.5 if _is_binary(factor) else factor.mean()
    return (factor - best) ** 2


def _forest(factor: np.ndarray, num_trees: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if _is_binary(factor) else RandomForestRegressor
    return kind(num_trees, min_samples_leaf=_LEAF, max_features=None, random_state=seed)


def _concentration(importance: np.ndarray) -> np.ndarray:
    """1 minus the normalised entropy of each row: 1 if all is in one place, 0 for an empty row."""
    total = importance.sum(1, keepdims=True)
    share = importance / np.where(total > 0, total, 1)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(1)
    most = np.log(importance.shape[1]) or 1.0
    return np.where(total[:, 0] > 0, np.clip(1 - entropy / most, 0, 1), 0)


def _dci_scores(importance: np.ndarray, informed: np.ndarray) -> dict[str, Estimate]:
    weights = [half.sum(1) / max(half.sum(), 1e-300) for half in importance]
    rows = [_concentration(half) for half in importance]
    return {
        "disentanglement": _paired(np.sum(np.multiply(weights, rows), 1)),
        "completeness": _paired(np.array([_concentration(half.T).mean() for half in importance])),
        "informativeness": Estimate.of(informed.mean(1)),
    }


def _paired(scores: np.ndarray) -> Estimate:
    """The mean score of all halves; the differences of the two halves give its error."""
    first, second = scores.reshape(-1, 2).T
    return Estimate(float(scores.mean()), float(np.sqrt(np.mean(((first - second) / 2) ** 2))))
