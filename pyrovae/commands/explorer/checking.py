"""Checks of the arguments of a question; each error is one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pyrovae.inspection.subject import check_name
from pyrovae.utils.errors import InputError

__all__ = ["chosen", "named", "numbers", "points", "text", "whole"]

#: The largest magnitude of a number in a question.
LARGEST = 1e4
#: The longest text in a question.
LONGEST = 500


def text(given: dict[str, Any], name: str) -> str:
    """A text that must be given."""
    value = given.get(name)
    if not isinstance(value, str) or len(value) > LONGEST:
        raise InputError(f"{name}: allowed is a text, got {_said(value)}")
    return value


def chosen(given: dict[str, Any], name: str, allowed: Iterable[str]) -> str:
    """A text that must be one of some names; the error names the nearest."""
    value = text(given, name)
    check_name(name, value, allowed)
    return value


def whole(given: dict[str, Any], name: str, low: int, high: int, usual: int) -> int:
    """A whole number from `low` to `high`; `usual` if it is not given."""
    value = given.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(
            f"{name}: allowed is a whole number from {low} to {high}, got {_said(value)}"
        )
    return value


def rows(given: dict[str, Any], name: str, count: int, most: int) -> list[int]:
    """Indices from 0 to `count` - 1, at least one and at most `most`."""
    values = _listed(given, name, most, "indices")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
            raise InputError(f"{name}: allowed are indices 0 to {count - 1}, got {_said(value)}")
    return values


def numbers(given: dict[str, Any], name: str, size: int) -> np.ndarray:
    """A list of `size` numbers, `(size,)`."""
    return _vector(name, given.get(name), size)


def points(given: dict[str, Any], name: str, size: int, most: int) -> np.ndarray:
    """One to `most` lists of `size` numbers, `(M, size)`."""
    values = _listed(given, name, most, f"lists of {size} numbers")
    return np.stack([_vector(name, value, size) for value in values])


def named(given: dict[str, Any], name: str, allowed: Iterable[str]) -> dict[str, float]:
    """Numbers by name; empty if nothing is given."""
    values, known = given.get(name), list(allowed)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{name}: allowed are numbers by name, got {_said(values)}")
    for key, value in values.items():
        check_name(f"{name}", str(key)[:LONGEST], known)
        _check_number(f"{name} {key}", value)
    return {key: float(value) for key, value in values.items()}


def _listed(given: dict[str, Any], name: str, most: int, what: str) -> list[Any]:
    values = given.get(name)
    if not isinstance(values, list):
        raise InputError(f"{name}: allowed are {what}, got {_said(values)}")
    if not 1 <= len(values) <= most:
        raise InputError(f"{name}: allowed are 1 to {most} {what}, got {len(values)}")
    return values


def _vector(name: str, values: Any, size: int) -> np.ndarray:
    if not isinstance(values, list):
        raise InputError(f"{name}: allowed is a list of {size} numbers, got {_said(values)}")
    if len(values) != size:
        raise InputError(f"{name}: allowed are {size} numbers, got {len(values)}")
    for place, value in enumerate(values):
        _check_number(f"{name}[{place}]", value)
    return np.array(values, float)


def _check_number(name: str, value: Any) -> None:
    kind = isinstance(value, int | float) and not isinstance(value, bool)
    # A large integer cannot become a float.
    if not kind or not abs(value) <= LARGEST:  # NaN is not at most anything.
        raise InputError(
            f"{name}: allowed is a number from {-LARGEST:g} to {LARGEST:g}, got {_said(value)}"
        )


def _said(value: Any) -> str:
    """A value in a message: numbers and short texts as they are, else its kind."""
    if value is None:
        return "nothing"
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**20):
        return str(value)
    if isinstance(value, str):
        return ascii(value[:40])
    return {list: "a list", dict: "an object", int: "a larger one"}.get(
        type(value), "another kind"
    )
