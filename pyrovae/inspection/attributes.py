"""Linear probes of attributes from posterior means, and directions of attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pyrovae.data import Split
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.information import checked, ratio_values
from pyrovae.inspection.subject import check_name
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["attribute_table", "directions", "known_directions", "known_probes", "probes"]

#: Least number of images for a probe.
FEWEST = 20
#: Least number of images with the rarer of an attribute's two values: two per fold.
LEAST = 10
#: Candidate penalties of ridge regression, for columns of unit variance.
PENALTIES = np.logspace(-2, 4, 13)
#: Whole numbers with more values than this, or above it, are a scale, such as ages, not classes.
CLASSES = 20


def is_two_valued(column: np.ndarray) -> bool:
    """Whether a column holds exactly two values, such as -1 and 1."""
    return len(np.unique(column)) == 2


def is_classes(column: np.ndarray) -> bool:
    """Whether a column holds 3 to 20 whole numbers up to 20, such as the label of a digit.

    Example:
        >>> is_classes(np.arange(10)), is_classes(np.linspace(0, 1, 10))
        (True, False)
        >>> is_classes(np.array([27, 32, 61, 80]))  # Ages.
        False
    """
    values = np.unique(column)
    few = 3 <= len(values) <= CLASSES
    return few and bool((values == values.round()).all() and np.abs(values).max() <= CLASSES)


def attribute_table(split: Split, names: Sequence[str] | None = None) -> pandas.DataFrame:
    """The attributes of a split, with class labels as one column of 0 and 1 per class.

    Args:
        split: the images.
        names: which attributes; by default all.

    Returns:
        One row per image, NaN where a value is not known; an attribute `label` of classes has
        columns `label=0`, `label=1`, ..., or `label=cat`, `label=dog`, ... if its values have
        names. Of two named classes there is one column, of many the most frequent 20.

    Raises:
        InputError: if the images have no attributes, or a name is unknown.
    """
    known = list(split.attribute_names)
    if not known:
        raise InputError("the images have no attributes")
    for name in names or ():
        check_name("attribute", name, known)
    columns: dict[str, np.ndarray] = {}
    for name in names or known:
        column = split.attributes[:, known.index(name)].astype(float)
        if name in split.value_names:
            columns |= _named_classes(name, column, split.value_names[name])
        elif is_classes(known_values := column[np.isfinite(column)]):
            columns |= {
                f"{name}={value:.0f}": np.where(np.isfinite(column), column == value, np.nan)
                for value in np.unique(known_values)
            }
        else:
            columns[name] = column
    return pandas.DataFrame(columns, index=list(split.names))


def _named_classes(name: str, column: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """A column per class that occurs, by name; NaN where the class is not known."""
    values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
    chosen = np.sort(values[np.argsort(-counts, kind="stable")[:CLASSES]])
    return {
        f"{name}={names[int(value)]}": np.where(np.isfinite(column), column == value, np.nan)
        for value in (chosen[1:] if len(values) == 2 else chosen)
    }


def enough(table: pandas.DataFrame) -> tuple[list[str], dict[str, str]]:
    """The attributes that a probe can be fitted to, and the reasons why others cannot.

    Args:
        table: one column per attribute.

    Returns:
        The names that can be fitted, and the reason of each other name.
    """
    found = {str(name): _unfit(column.to_numpy(float)) for name, column in table.items()}
    reasons = {name: reason for name, reason in found.items() if reason}
    return [name for name in found if name not in reasons], reasons


def _unfit(column: np.ndarray) -> str:
    """Why no probe can be fitted to an attribute; "" if one can."""
    values, counts = np.unique(column, return_counts=True)
    if not np.isfinite(values).all():
        return "not known for all images"
    if len(values) == 1:
        return "the same for all images"
    if len(values) == 2 and counts.min() < LEAST:
        return f"{counts.min()} of {LEAST} images needed of its rarer value"
    return ""


def known_probes(
    codes: np.ndarray, table: pandas.DataFrame, *, seed: int = 0
) -> tuple[pandas.DataFrame, dict[str, str]]:
    """The `probes` of attributes, each on the images for which it is known.

    Args:
        codes: one vector for each image, `(N, D)`.
        table: one column per attribute, N rows; NaN where a value is not known.
        seed: seed of the folds.

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
        if reason := few or _unfit(column.to_numpy(float)[rows]):
            reasons[str(name)] = reason
        else:
            found.append(probes(codes[rows], table.iloc[rows][[name]], seed=seed))
    if found:
        return pandas.concat(found), reasons
    raise InputError(
        f"no probe can be fitted to {len(table)} images: "
        f"{'; '.join(f'{name} ({reason})' for name, reason in reasons.items())}"
    )


def known_directions(codes: np.ndarray, table: pandas.DataFrame) -> pandas.DataFrame:
    """The `directions` of attributes, each from the images for which it is known."""
    rows = {name: np.flatnonzero(np.isfinite(column)) for name, column in table.items()}
    return pandas.concat(
        directions(codes[own], table.iloc[own][[name]]) for name, own in rows.items()
    )


def probes(
    codes: np.ndarray, table: pandas.DataFrame, *, folds: int = 5, seed: int = 0
) -> pandas.DataFrame:
    r"""The score of a linear probe of the codes for each attribute, on held-out images.

    For an attribute of two values the probe is a logistic regression (codes scaled to unit
    variance, penalty $\frac{1}{2} |w|^2$). Its score is the area under the ROC curve: how often
    it ranks an image with the greater value above one with the other. For any other attribute
    the probe is a ridge regression, with the penalty of the smallest leave-one-out error on the
    images that it is fitted to. Its score is

    $$R^2 = 1 - \frac{\sum_i (a_i - \hat a_i)^2}{\sum_i (a_i - \bar a)^2}$$

    Each image is predicted by the fit to the other folds. The standard error is over images,
    with fixed fits: by DeLong et al. for the area, by the delta method for R^2.

    Args:
        codes: one vector for each image, such as posterior means, `(N, D)`.
        table: one column per attribute, N rows.
        folds: the number of folds, 2 to 10.
        seed: seed of the folds.

    Returns:
        One row per attribute: the `score`, "AUC" or "R2"; its `value` and standard `error`; the
        number of `images`; the `share` of images with the greater of two values.

    Raises:
        InputError: if there are fewer than 20 images, a value is not finite, or a probe cannot
            be fitted to an attribute: see `enough`.

    References:
        Understanding intermediate layers using linear classifier probes (Alain and Bengio,
        2016), https://arxiv.org/abs/1610.01644; Comparing the Areas under Two or More
        Correlated Receiver Operating Characteristic Curves (DeLong et al., 1988, equations 3-5)
    """
    codes, values = checked(codes, table.to_numpy(float), FEWEST)
    for name, reason in enough(table)[1].items():
        raise InputError(f"no probe of the attribute {name} can be fitted: {reason}")
    if not 2 <= folds <= LEAST:
        raise InputError(f"folds must be from 2 to {LEAST}, got {folds}")
    rows = []
    for column in values.T:
        two = is_two_valued(column)
        found = _area(codes, column, folds, seed) if two else _share(codes, column, folds, seed)
        share = (column == column.max()).mean() if two else np.nan
        rows.append(("AUC" if two else "R2", found.value, found.error, len(codes), share))
    index = pandas.Index(table.columns, name="attribute")
    return pandas.DataFrame(rows, index, columns=["score", "value", "error", "images", "share"])


def gains(scores: pandas.DataFrame) -> pandas.Series:
    """The scores of probes relative to chance, highest first: R2, or 2 AUC - 1; 1 is perfect.

    Args:
        scores: from `probes`.
    """
    found = scores["value"].where(scores["score"] == "R2", 2 * scores["value"] - 1)
    return found.sort_values(ascending=False, kind="stable")


def unread(scores: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of the attributes that are not predicted better than chance by two errors.

    Args:
        scores: from `probes`.
    """
    chance = scores["score"].map({"AUC": 0.5, "R2": 0.0})
    return scores[scores["value"] < chance + 2 * scores["error"]]


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


def _area(codes: np.ndarray, column: np.ndarray, folds: int, seed: int) -> Estimate:
    """The mean over folds of the area under the ROC curve within each fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    positive, parts = column == column.max(), []
    halves = StratifiedKFold(folds, shuffle=True, random_state=seed).split(codes, positive)
    for seen, unseen in halves:
        model = LogisticRegression(max_iter=1000, tol=1e-3)
        known, new = scaled(codes[seen], codes[unseen])
        scores = model.fit(known, positive[seen]).decision_function(new)
        parts.append(area_under_curve(scores, positive[unseen]))
    first, second = map(np.concatenate, zip(*parts, strict=True))
    error = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return Estimate(float(first.mean()), float(error))


def _share(codes: np.ndarray, column: np.ndarray, folds: int, seed: int) -> Estimate:
    """R2 of the predictions of all folds together."""
    predicted = held_out_predictions(codes, column, folds=folds, seed=seed)
    constant = np.empty_like(column)
    for seen, unseen in _folds(len(codes), folds, seed):
        constant[unseen] = column[seen].mean()
    error, most = (column - predicted) ** 2, (column - constant) ** 2
    return Estimate.of(ratio_values(most - error, most))


def _folds(count: int, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import KFold

    yield from KFold(folds, shuffle=True, random_state=seed).split(np.zeros(count))


def held_out_predictions(
    codes: np.ndarray, values: np.ndarray, *, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Predictions of each image by the `ridge` regression of the other folds.

    Args:
        codes: one vector for each image, `(N, D)`.
        values: `(N,)`, or `(N, A)`.
        folds: the number of folds.
        seed: seed of the folds.

    Returns:
        An array of the shape of `values`.
    """
    found = np.empty_like(values)
    for seen, unseen in _folds(len(codes), folds, seed):
        found[unseen] = ridge(codes[seen], values[seen], codes[unseen])
    return found


def ridge(codes: np.ndarray, values: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Predictions for new codes by ridge regression of values `(N,)` or `(N, A)` on codes."""
    from sklearn.linear_model import RidgeCV

    known, new = scaled(codes, new)
    model = RidgeCV(PENALTIES, alpha_per_target=values.ndim > 1).fit(known, values)
    return model.predict(new).reshape(len(new), *values.shape[1:])


def scaled(codes: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both standardised with the mean and deviation of the first; constant columns are 0."""
    loc, scale = codes.mean(0), codes.std(0)
    scale = np.where(scale > 1e-9 * (1 + np.abs(loc)), scale, np.inf)
    return (codes - loc) / scale, (new - loc) / scale


def directions(codes: np.ndarray, table: pandas.DataFrame) -> pandas.DataFrame:
    r"""The direction in which codes change on average with each attribute.

    $$v = \frac{\operatorname{Cov}(z, a)}{\operatorname{Var}(a)}$$

    It is the slope of the regression of z on a. For an attribute of two values it is the
    difference of the two class means over the difference of the values. To change an attribute
    by $\Delta$, move to $z + \Delta v$. Do not use the weights of a probe for that: they cancel
    other causes of variation in z, and may point to regions without images. Attributes that are
    correlated with this one in the data change with it.

    Args:
        codes: one vector for each image, `(N, D)`.
        table: one column per attribute, N rows.

    Returns:
        One row per attribute, one column per dimension.

    Raises:
        InputError: if there are fewer than two images, a value is not finite, or an attribute
            is the same for all images.

    References:
        On the interpretation of weight vectors of linear models in multivariate neuroimaging
        (Haufe et al., 2014, theorem 1 and section 2.2.2)

    Example:
        >>> import pandas
        >>> codes = np.array([[0.0, 1.0], [4.0, 1.0]])
        >>> directions(codes, pandas.DataFrame({"smiling": [-1, 1]})).to_numpy()
        array([[2., 0.]])
    """
    codes, values = checked(codes, table.to_numpy(float), 2)
    for name, column in zip(table.columns, values.T, strict=True):
        if np.ptp(column) == 0:
            raise InputError(f"the attribute {name} is the same for all {len(codes)} images")
    centred = values - values.mean(0)
    found = centred.T @ (codes - codes.mean(0)) / np.square(centred).sum(0)[:, None]
    return pandas.DataFrame(found, index=pandas.Index(table.columns, name="attribute"))


def reach(table: pandas.DataFrame) -> pandas.DataFrame:
    """The range of each attribute: its two values, or its 5% and 95% quantiles.

    Args:
        table: one column per attribute.

    Returns:
        One row per attribute: `low` and `high`.
    """
    two = table.nunique() == 2
    low = table.quantile(0.05).mask(two, table.min())
    return pandas.DataFrame({"low": low, "high": table.quantile(0.95).mask(two, table.max())})
