"""Labels and attributes that are given as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from numbers import Real
from operator import or_
from typing import Any

import numpy as np

from pyrovae.data.labels import Attributes, check_finite, left_out, of_texts
from pyrovae.data.layout import as_array
from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn
from pyrovae.utils.text import cut, listed

#: Plain numbers; NumPy's booleans are not Python's.
NUMBERS = Real | np.bool_

__all__ = [
    "as_attributes",
    "attribute_columns",
    "check_names",
    "group_column",
    "label_column",
    "numbered",
]


def label_column(labels: Any, count: int) -> np.ndarray:
    """Returns labels as an array `(N,)` of numbers or objects, such as texts and None.

    Args:
        labels: one number or text per image.
        count: N.

    Raises:
        InputError: if there is not one label per image.
    """
    values = _array(labels, "labels")
    return _one_each(
        values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values, "labels", count
    )


def group_column(groups: Any, count: int) -> np.ndarray:
    """Returns the group of each image as a number 0, 1, ...

    Args:
        groups: one number or text per image.
        count: the number of images.

    Raises:
        InputError: if there is not one group per image.
    """
    import pandas

    values = _one_each(_array(groups, "groups"), "groups", count)
    if (missing := pandas.isna(values)).any():
        raise InputError(
            f"groups: {missing.sum():,} of {count:,} images have none, such as image "
            f"{missing.argmax()}; allowed are one number or text per image"
        )
    return np.unique(values.astype(str), return_inverse=True)[1]


def numbered(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns labels as float32 numbers, and the texts that they encode, if they were texts.

    Texts are numbered alphabetically, so 10 comes before 2. None and NaN are unknown labels, and
    become NaN.

    Example:
        >>> numbered(np.array(["dog", None, "cat", "dog"]))
        (array([ 1., nan,  0.,  1.], dtype=float32), ('cat', 'dog'))
    """
    if labels.dtype.kind in "biuf":
        return _single("label", labels), ()
    import pandas

    known = ~pandas.isna(labels)
    # None turns an array of numbers into one of objects.
    if not known.all() and _are_numbers(labels[known]):
        return _single("label", np.where(known, labels, np.nan)), ()
    names, codes = np.unique(labels[known].astype(str), return_inverse=True)
    found = np.full(len(labels), np.nan, np.float32)
    found[known] = codes
    return found, tuple(names.tolist())


def check_names(names: Sequence[str], labels: np.ndarray) -> None:
    """Raises `InputError` unless each known label has a name.

    Args:
        names: the names of the labels 0, 1, ...
        labels: numbers; -1 and NaN are not known.
    """
    known = labels[~np.isnan(labels) & (labels != -1)]
    if len(known) and ((known % 1).any() or known.min() < 0 or known.max() >= len(names)):
        raise InputError(
            f"label_names {cut(listed(names))}: {len(names)} names, but the labels are from "
            f"{known.min():g} to {known.max():g}; allowed is one name for each of the labels 0, "
            "1, ..."
        )


def warn_of_unused(names: Sequence[str], labels: np.ndarray) -> None:
    """Warns of names of labels above all those of the training images."""
    highest = np.nanmax(labels, initial=-1)
    if len(names) > highest + 1:
        warn(
            f"label_names: {len(names)} names, but the highest label of the training images is "
            f"{highest:g}; no image has the label {cut(listed(names[int(highest) + 1 :]))}"
        )


def check_renamed(names: Sequence[str], texts: Sequence[str]) -> None:
    """Raises `InputError` unless names can replace the texts of labels, which are in order."""
    swapped = {*names} == {*texts} and list(names) != list(texts)
    if len(names) != len(texts) or swapped:
        raise InputError(
            f"label_names {cut(listed(names))}: {len(names)} names, but the labels are the "
            f"{len(texts)} texts {cut(listed(texts))}; allowed is one name for each, in this order"
        )


def attribute_columns(attributes: Any, count: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the columns of attributes by name, each an array `(N,)` of numbers or objects.

    Args:
        attributes: a data frame, a series, a mapping of names to columns, or an array `(N, A)`.
        count: N.
        names: the names of the columns of an array; by default their numbers.

    Raises:
        InputError: if a column does not have one value per image, or two have the same name.
    """
    titles, columns = _titled(attributes, names)
    check_distinct(titles)
    found = {}
    for title, column in zip(titles, columns, strict=True):
        what = f"attribute {cut(title)}"
        values = _one_each(_array(column, what), what, count)
        found[title] = _single(title, values) if values.dtype.kind in "biuf" else values
    return found


def _titled(attributes: Any, names: Sequence[str]) -> tuple[list[str], Sequence[Any]]:
    """The names of the columns, and the columns."""
    import pandas

    if isinstance(attributes, pandas.Series):
        if not names and attributes.name is None:
            raise InputError(
                "attributes: a Series without a name; allowed are one with a name, such as "
                "series.rename('age'), and attribute_names"
            )
        return _titled_array(
            _array(attributes, "attributes")[:, None], names or [str(attributes.name)]
        )
    if isinstance(attributes, Mapping) or hasattr(attributes, "columns"):
        keys = list(attributes if isinstance(attributes, Mapping) else attributes.columns)
        if not keys:
            raise InputError("attributes: no columns; allowed are one or more, or None")
        return [str(key) for key in keys], [attributes[key] for key in keys]
    return _titled_array(_array(attributes, "attributes"), names)


def _titled_array(table: np.ndarray, names: Sequence[str]) -> tuple[list[str], list[np.ndarray]]:
    if table.ndim != 2:
        raise InputError(
            f"attributes of shape {table.shape}: allowed are (N, A), a row of A values per image; "
            "a data frame, and a mapping of names to columns"
        )
    if names and len(names) != table.shape[1]:
        raise InputError(
            f"attribute_names {cut(listed(names))}: {len(names)} names, but the attributes have "
            f"{table.shape[1]} columns"
        )
    return list(names) or [str(column) for column in range(table.shape[1])], list(table.T)


def check_distinct(names: Sequence[str]) -> None:
    """Raises `InputError` if two attributes have the same name."""
    if twice := [cut(name) for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"attributes: several columns have the name {listed(twice)}; allowed are names that "
            "differ from each other, and from label where labels are given"
        )


def as_attributes(parts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Attributes]:
    """Returns the attributes of each split; texts are classes, with one number in all splits.

    One warning names columns whose texts are not classes.

    Args:
        parts: by split, columns as `attribute_columns` returns them.

    Raises:
        InputError: if a value is neither a number nor a text, or is infinite.
    """
    names = dict.fromkeys(name for own in parts.values() for name in own)
    found = {name: _over_splits(name, parts) for name in names}
    missed = [
        name for name, own in found.items() if not any(part.columns for part in own.values())
    ]
    if missed:
        warn(f"attributes: {left_out(missed)}")
    return {
        split: reduce(or_, (found[name][split] for name in own), Attributes())
        for split, own in parts.items()
    }


def _over_splits(
    name: str, parts: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Attributes]:
    """One attribute of each split that has it."""
    columns = {split: own[name] for split, own in parts.items() if name in own}
    whole = _attribute(name, np.concatenate(list(columns.values())))
    if not whole.columns:
        return dict.fromkeys(columns, whole)
    ends = np.cumsum([len(column) for column in columns.values()])[:-1]
    pieces = zip(columns, np.split(whole.columns[name], ends), strict=True)
    return {split: Attributes({name: values}, whole.value_names) for split, values in pieces}


def _attribute(name: str, values: np.ndarray) -> Attributes:
    """One column of numbers, or of classes; none if its texts are not classes."""
    if values.dtype.kind == "f":
        return Attributes({name: values})
    import pandas

    known = ~pandas.isna(values)
    given = values[known]
    if others := [own for own in given if not isinstance(own, str | NUMBERS)]:
        raise InputError(
            f"attribute {cut(name)}: values of the type {type(others[0]).__name__}; allowed are "
            "numbers and texts"
        )
    if len(given) and _are_numbers(given):
        return Attributes({name: _single(name, np.where(known, values, np.nan))})
    return of_texts(name, np.where(known, values, "").astype(str))


def _array(values: Any, what: str) -> np.ndarray:
    """An array of numbers or objects; what a mask hides is NaN, or None among objects."""
    if np.ma.isMaskedArray(values):
        numbers = values.dtype.kind in "biuf"
        plain = values.astype(float if numbers else object)
        values = np.ma.filled(plain, np.nan if numbers else None)
    found = as_array(values, what)
    # NumPy writes NaN among texts as "nan"; as an object it stays NaN.
    return found if found.dtype.kind in "biufO" else np.asarray(values, object)


def _one_each(values: np.ndarray, what: str, count: int) -> np.ndarray:
    if values.shape != (count,):
        raise InputError(f"{what} of shape {values.shape}: allowed are {count}, one per image")
    return values


def _are_numbers(values: np.ndarray) -> bool:
    return all(isinstance(own, NUMBERS) for own in values)


def _single(name: str, values: np.ndarray) -> np.ndarray:
    """Numbers as finite float32 numbers, or NaN."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    check_finite(name, found)
    return found
