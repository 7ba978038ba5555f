"""What the library raises when the mistake is in the input, not in the program."""

from __future__ import annotations

__all__ = ["InputError", "check_kind"]


class InputError(ValueError):
    """A user's mistake: a wrong path, file, value or combination of options.

    The message is one line that names the value or path and what is allowed. The scripts print
    it and exit with code 2; every other exception is a bug and keeps its traceback.
    """


def check_kind(name: str, value: object, kind: type, hint: str = "") -> None:
    """Raises `TypeError` unless an argument is of its kind: a class is not an object of it.

    Example:
        >>> check_kind("epochs", 3, int)
    """
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{name} must be of the kind {kind.__name__}, got {got}{hint}")
