"""Tables of attributes, and directions of attributes in the latent space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyrovae.data import Split
from pyrovae.evaluation.information import checked
from pyrovae.inspection.subject import check_name
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["attribute_table", "directions", "known_directions"]

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
        finite = np.isfinite(column)
        classes = _classes(column[finite], split.value_names.get(name))
        for value, word in classes.items():
            columns[f"{name}={word}"] = np.where(finite, column == value, np.nan)
        if not classes and name not in split.value_names:
            columns[name] = column
    return pandas.DataFrame(columns, index=list(split.names))


def _classes(column: np.ndarray, names: Sequence[str] | None) -> dict[float, str]:
    """The name of each class that has a column; none if the values are no classes."""
    values, counts = np.unique(column, return_counts=True)
    if names is None:
        return {value: f"{value:.0f}" for value in values} if is_classes(column) else {}
    chosen = np.sort(values[np.argsort(-counts, kind="stable")[:CLASSES]])
    return {value: names[int(value)] for value in (chosen[1:] if len(values) == 2 else chosen)}


def known_directions(codes: np.ndarray, table: pandas.DataFrame) -> pandas.DataFrame:
    """The `directions` of attributes, each from the images for which it is known."""
    rows = {name: np.flatnonzero(np.isfinite(column)) for name, column in table.items()}
    return pandas.concat(
        directions(codes[own], table.iloc[own][[name]]) for name, own in rows.items()
    )


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
