"""What the library raises when the mistake is in the input, not in the program."""

from __future__ import annotations


class InputError(ValueError):
    """A user's mistake: a wrong path, file, value or combination of options.

    The message is one line that names the value or path and what is allowed. The scripts print
    it and exit with code 2; every other exception is a bug and keeps its traceback.
    """
