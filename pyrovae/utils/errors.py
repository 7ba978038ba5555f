"""Exceptions for mistakes in the user's input."""

from __future__ import annotations

from types import UnionType
from typing import get_args

__all__ = ["InputError", "check_kind"]


class InputError(ValueError):
    """A user's mistake: a wrong path, file, value or combination of options.

    The message is one line that names the value or path and what is allowed. The commands print
    it and exit with code 2; every other exception is a bug and keeps its traceback.
    """


def cannot_start(part: object, reason: str) -> InputError:
    """The error of a part from which `ProbabilisticPCA` cannot start."""
    return InputError(f"{type(part).__name__} cannot start from ProbabilisticPCA ({reason})")


def check_kind(name: str, value: object, kind: type | UnionType, hint: str = "") -> None:
    """Raises `TypeError` if an argument has the wrong type, such as a class in place of an object.

    Example:
        >>> check_kind("epochs", 3, int)
    """
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        kinds = " or ".join(own.__name__ for own in get_args(kind) or (kind,))
        raise TypeError(f"{name} must be of the kind {kinds}, got {got}{hint}")
