"""Linear probes: how well a linear function of the posterior means predicts an attribute."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.information import checked, ratio_values
from pyrovae.inspection.attributes import is_two_valued
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.statistics import error_of_mean
from pyrovae.utils.text import counted

__all__ = ["known_probes", "probes"]

#: Least number of images for a probe.
FEWEST = 20
#: Least number of images with the rarer of an attribute's two values: two per fold.
LEAST = 10
#: Near chance, scores vary with the fits too: by up to this factor more than with fixed fits.
OVER_FITS = 1.5
#: The probability that an attribute that codes say nothing about counts as predicted, and the
#: least number of independent images, or of groups, for which it can be as small.
RISK, LEAST_APART = 0.025, 6
#: Attributes that an error names.
NAMED = 5
#: Candidate penalties of ridge regression, for columns of unit variance.
PENALTIES = np.logspace(-2, 4, 13)


def enough(
    table: pandas.DataFrame, groups: np.ndarray | None = None
) -> tuple[list[str], dict[str, str]]:
    """The attributes that a probe can be fitted to, and the reasons why others cannot.

    Args:
        table: one column per attribute.
        groups: the group of each image, such as a patient; by default each image is one.

    Returns:
        The names that can be fitted, and the reason of each other name.
    """
    found = {str(name): _unfit(column.to_numpy(float), groups) for name, column in table.items()}
    reasons = {name: reason for name, reason in found.items() if reason}
    return [name for name in found if name not in reasons], reasons


def _unfit(column: np.ndarray, groups: np.ndarray | None) -> str:
    """Why no probe can be fitted to an attribute; "" if one can."""
    values, counts = np.unique(column, return_counts=True)
    if not np.isfinite(values).all():
        return "not known for all images"
    if len(values) == 1:
        return "the same for all images"
    if len(values) == 2 and counts.min() < LEAST:
        return f"{counts.min()} of {LEAST} images needed of its rarer value"
    if groups is not None and (least := _fewest_groups(column, groups)) < 2:
        return f"{counted(least, 'group')} of 2 needed{' of each value' * (len(values) == 2)}"
    return ""


def _fewest_groups(column: np.ndarray, groups: np.ndarray) -> int:
    """The number of groups; of an attribute of two values, with images of the rarer one."""
    parts = [column == value for value in np.unique(column)] if is_two_valued(column) else [...]
    return min(len(np.unique(groups[part])) for part in parts)


def known_probes(
    codes: np.ndarray,
    table: pandas.DataFrame,
    *,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[pandas.DataFrame, dict[str, str]]:
    """The `probes` of attributes, each on the images for which it is known.

    Args:
        codes: one vector for each image, `(N, D)`.
        table: one column per attribute, N rows; NaN where a value is not known.
        seed: seed of the folds.
        groups: the group of each image, such as a patient; by default each image is one.

    Returns:
        The rows of `probes`, and the reason of each attribute that no probe can be fitted to.

    Raises:
        InputError: if there are fewer than 20 images, or no probe can be fitted to any attribute.
    """
    codes, _ = checked(codes, table.fillna(0.0).to_numpy(float), FEWEST)  # NaN is unknown.
    found, reasons = [], {}
    for name, column in table.items():
        rows = np.flatnonzero(np.isfinite(column))
        few = f"known for {len(rows)} of {FEWEST} images needed" if len(rows) < FEWEST else ""
        own = None if groups is None else groups[rows]
        if reason := few or _unfit(column.to_numpy(float)[rows], own):
            reasons[str(name)] = reason
        else:
            found.append(probes(codes[rows], table.iloc[rows][[name]], seed=seed, groups=own))
    if found:
        return pandas.concat(found), reasons
    named = [f"{name} ({reason})" for name, reason in reasons.items()]
    more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
    raise InputError(
        f"no probe can be fitted to {len(table)} images: {'; '.join(named[:NAMED])}{more}"
    )


def probes(
    codes: np.ndarray,
    table: pandas.DataFrame,
    *,
    folds: int = 5,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> pandas.DataFrame:
    r"""The score of a linear probe of the codes for each attribute, on held-out images.

    For an attribute of two values the probe is a logistic regression (codes scaled to unit
    variance, penalty $\frac{1}{2} |w|^2$). Its score is the area under the ROC curve: how often
    it ranks an image with the greater value above one with the other. For any other attribute
    the probe is a ridge regression, with the penalty of the smallest error on images, or groups,
    that are left out of those that it is fitted to. Its score is

    $$R^2 = 1 - \frac{\sum_i (a_i - \hat a_i)^2}{\sum_i (a_i - \bar a)^2}$$

    Each image is predicted by the fit to the other folds. All images of a group are in one fold,
    so that a probe cannot recognise a person of whom it knows the attribute. The standard error
    is over images or groups, with fixed fits: by DeLong et al. for the area, with groups by
    Obuchowski, and by the delta method for R^2.

    Args:
        codes: one vector for each image, such as posterior means, `(N, D)`.
        table: one column per attribute, N rows.
        folds: the number of folds, 2 to 10; fewer if there are fewer groups.
        seed: seed of the folds.
        groups: the group of each image, such as a patient; by default each image is one.

    Returns:
        One row per attribute: the `score`, "AUC" or "R2"; its `value` and standard `error`; the
        number of `images`; the `share` of images with the greater of two values; the number of
        `independent` images or groups, of the rarer of two values.

    Raises:
        InputError: if there are fewer than 20 images, a value is not finite, or a probe cannot
            be fitted to an attribute: see `enough`.

    References:
        Understanding intermediate layers using linear classifier probes (Alain and Bengio,
        2016), https://arxiv.org/abs/1610.01644; Comparing the Areas under Two or More
        Correlated Receiver Operating Characteristic Curves (DeLong et al., 1988, equations 3-5);
        Nonparametric Analysis of Clustered ROC Curve Data (Obuchowski, 1997)
    """
    codes, values = checked(codes, table.to_numpy(float), FEWEST)
    for name, reason in enough(table, groups)[1].items():
        raise InputError(f"no probe of the attribute {name} can be fitted: {reason}")
    if not 2 <= folds <= LEAST:
        raise InputError(f"folds must be from 2 to {LEAST}, got {folds}")
    rows = []
    for column in values.T:
        two = is_two_valued(column)
        fit = _area if two else _share
        found = fit(codes, column, folds, seed, groups)
        share = (column == column.max()).mean() if two else np.nan
        apart = _fewest_groups(column, np.arange(len(column)) if groups is None else groups)
        rows.append(("AUC" if two else "R2", found.value, found.error, len(codes), share, apart))
    columns = ["score", "value", "error", "images", "share", "independent"]
    return pandas.DataFrame(rows, pandas.Index(table.columns, name="attribute"), columns)


def gains(scores: pandas.DataFrame) -> pandas.Series:
    """The scores of probes relative to chance, highest first: R2, or 2 AUC - 1; 1 is perfect.

    Args:
        scores: from `probes`.
    """
    found = scores["value"].where(scores["score"] == "R2", 2 * scores["value"] - 1)
    return found.sort_values(ascending=False, kind="stable")


def at_chance(scores: pandas.DataFrame) -> pandas.DataFrame:
    r"""The rows of the attributes that are not shown to be predicted better than chance.

    The test is that of Student's t at a level of 2.5% at most. The deviation of an area, or with
    groups of any score, is taken as 1.5 times its error: the folds share images, so their fits
    vary together, which an error with fixed fits leaves out. R2 is below 0 by chance, so it needs
    no factor for single images. Fewer than 6 independent images or groups of a value show nothing.

    Args:
        scores: from `probes`.

    References:
        No Unbiased Estimator of the Variance of K-Fold Cross-Validation (Bengio and Grandvalet,
        2004), https://www.jmlr.org/papers/v5/grandvalet04a.html
    """
    from scipy.stats import t

    above = scores["value"] - scores["score"].map({"AUC": 0.5, "R2": 0.0})
    single = (scores["score"] == "R2") & (scores["independent"] == scores["images"])
    limit = np.where(single, 1.0, OVER_FITS) * t.isf(RISK, (scores["independent"] - 1).clip(1))
    shown = (above > limit * scores["error"]) & (scores["independent"] >= LEAST_APART)
    return scores[~shown]


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The area under the ROC curve per image: the mean of either result is the area.

    Returns:
        The share of negatives below each positive, and the share of positives above each
        negative. Ties count one half.

    Args:
        scores: `(N,)`.
        positive: booleans, `(N,)`.

    Example:
        >>> area_under_curve(np.array([0.0, 1.0, 2.0]), np.array([False, True, True]))
        (array([1., 1.]), array([1.]))
    """
    from scipy.stats import rankdata

    ranks, count = rankdata(scores), positive.sum()
    above = (ranks[positive] - rankdata(scores[positive])) / (len(scores) - count)
    below = (ranks[~positive] - rankdata(scores[~positive])) / count
    return above, 1 - below


def _area(
    codes: np.ndarray, column: np.ndarray, folds: int, seed: int, groups: np.ndarray | None
) -> Estimate:
    """The mean over folds of the area under the ROC curve within each fold."""
    from sklearn.linear_model import LogisticRegression

    positive, places = column == column.max(), np.full(len(column), np.nan)
    for seen, unseen in _balanced_folds(positive, folds, seed, groups):
        model = LogisticRegression(max_iter=1000, tol=1e-3)
        known, new = scaled(codes[seen], codes[unseen])
        scores = model.fit(known, positive[seen]).decision_function(new)
        own = positive[unseen]
        places[unseen[own]], places[unseen[~own]] = area_under_curve(scores, own)
    sides = [np.flatnonzero(side & np.isfinite(places)) for side in (positive, ~positive)]
    value = float(places[sides[0]].mean())
    if groups is None:
        error = math.hypot(*(error_of_mean(places[side]) for side in sides))
        return Estimate(value, error)
    rows = np.concatenate(sides)  # The error is that of a sum over groups of both sides.
    parts = [(places[side] - places[side].mean()) / len(side) for side in sides]
    return Estimate(value, error_of_mean(len(rows) * np.concatenate(parts), groups[rows]))


def _balanced_folds(
    positive: np.ndarray, folds: int, seed: int, groups: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Folds with as many positive images each as possible; those of one value are left out."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind, most = StratifiedKFold, folds
    if groups is not None:
        kind, most = StratifiedGroupKFold, min(folds, _fewest_groups(positive, groups))
    halves = kind(most, shuffle=True, random_state=seed).split(positive, positive, groups)
    for seen, unseen in halves:
        if all(len(np.unique(positive[half])) == 2 for half in (seen, unseen)):
            yield seen, unseen


def _share(
    codes: np.ndarray, column: np.ndarray, folds: int, seed: int, groups: np.ndarray | None
) -> Estimate:
    """R2 of the predictions of all folds together."""
    predicted = held_out_predictions(codes, column, folds=folds, seed=seed, groups=groups)
    constant = np.empty_like(column)
    for seen, unseen in _folds(len(codes), folds, seed, groups):
        constant[unseen] = column[seen].mean()
    error, most = (column - predicted) ** 2, (column - constant) ** 2
    return Estimate.of(ratio_values(most - error, most), groups)


def _folds(
    count: int, folds: int, seed: int, groups: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random folds; all images of a group are in one."""
    from sklearn.model_selection import KFold

    own = np.unique(np.arange(count) if groups is None else groups, return_inverse=True)[1]
    number = own.max() + 1
    for halves in KFold(min(folds, number), shuffle=True, random_state=seed).split(range(number)):
        seen, unseen = (np.flatnonzero(np.isin(own, half)) for half in halves)
        yield seen, unseen


def held_out_predictions(
    codes: np.ndarray,
    values: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Predictions of each image by the `ridge` regression of the other folds.

    Args:
        codes: one vector for each image, `(N, D)`.
        values: `(N,)`, or `(N, A)`.
        folds: the number of folds.
        seed: seed of the folds.
        groups: the group of each image, such as a patient; by default each image is one.

    Returns:
        An array of the shape of `values`.
    """
    found = np.empty_like(values)
    for seen, unseen in _folds(len(codes), folds, seed, groups):
        own = None if groups is None else groups[seen]
        found[unseen] = ridge(codes[seen], values[seen], codes[unseen], own)
    return found


def ridge(
    codes: np.ndarray, values: np.ndarray, new: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Predictions for new codes by ridge regression of values `(N,)` or `(N, A)` on codes.

    The penalty of each value has the smallest error on images that are left out one by one, or on
    groups that are left out in five folds: other images of a group would give the answer away.
    """
    from sklearn.linear_model import Ridge, RidgeCV

    known, new = scaled(codes, new)
    if groups is None or len(np.unique(groups)) in (1, len(groups)):
        model = RidgeCV(PENALTIES, alpha_per_target=values.ndim > 1)
    else:
        model = Ridge(_grouped_penalties(known, values.reshape(len(known), -1), groups))
    return model.fit(known, values).predict(new).reshape(len(new), *values.shape[1:])


def _grouped_penalties(codes: np.ndarray, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The best of `PENALTIES` for each column of values `(N, A)`, by five folds of groups."""
    errors = np.zeros((len(PENALTIES), values.shape[1]))
    for seen, unseen in _folds(len(codes), 5, 0, groups):
        loc, mean = codes[seen].mean(0), values[seen].mean(0)
        u, s, v = np.linalg.svd(codes[seen] - loc, full_matrices=False)
        fit, new = u.T @ (values[seen] - mean), (codes[unseen] - loc) @ v.T
        for place, penalty in enumerate(PENALTIES):
            off = new @ ((s / (s**2 + penalty))[:, None] * fit) + mean - values[unseen]
            errors[place] += np.square(off).sum(0)
    return PENALTIES[errors.argmin(0)]


def scaled(codes: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both standardised with the mean and deviation of the first; constant columns are 0."""
    loc, scale = codes.mean(0), codes.std(0)
    scale = np.where(scale > 1e-9 * (1 + np.abs(loc)), scale, np.inf)
    return (codes - loc) / scale, (new - loc) / scale
