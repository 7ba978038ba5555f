"""Labels and attributes that are given as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrovae.data.layout import as_array
from pyrovae.utils.errors import InputError

__all__ = ["attribute_table", "label_column"]


def label_column(labels: Any, count: int) -> np.ndarray:
    """Returns labels as an array `(N,)` of numbers or texts.

    Args:
        labels: one number or text per image.
        count: N.

    Raises:
        InputError: if there is not one label per image.
    """
    values = as_array(labels, "labels")
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.shape != (count,):
        raise InputError(f"labels of shape {values.shape}: allowed are {count}, one per image")
    return values if values.dtype.kind in "biuf" else values.astype(str)


def numbered(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns labels as float32 numbers; for texts, which are numbered in their order, the texts.

    Example:
        >>> numbered(np.array(["dog", "cat", "dog"]))
        (array([1., 0., 1.], dtype=float32), ('cat', 'dog'))
    """
    if labels.dtype.kind in "biuf":
        return labels.astype(np.float32), ()
    names, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.float32), tuple(names.tolist())


def attribute_table(
    attributes: Any, names: Sequence[str], count: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns attributes as a float32 array `(N, A)`, and their names.

    Args:
        attributes: a data frame, a mapping of names to columns, or an array `(N, A)`.
        names: the names of the columns of an array; by default their numbers.
        count: N.

    Raises:
        InputError: if there is not one row of numbers per image.
    """
    if isinstance(attributes, Mapping) or hasattr(attributes, "columns"):
        names = [str(name) for name in attributes]
        columns = [as_array(attributes[name], f"attribute {name}") for name in attributes]
        lengths = {len(column) if column.ndim else 0 for column in columns}
        table = np.stack(columns, 1) if len(lengths) == 1 else np.empty((min(lengths), 0))
    else:
        table = as_array(attributes, "attributes")
    names = names or [str(column) for column in range(table.shape[-1] if table.ndim else 0)]
    if table.shape != (count, len(names)) or table.dtype.kind not in "biuf":
        raise InputError(
            f"attributes of shape {table.shape} and type {table.dtype}: allowed are "
            f"{count} rows of {len(names)} numbers, one row per image"
        )
    return table.astype(np.float32), tuple(names)
