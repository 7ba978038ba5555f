"""Where progress bars are shown."""

from __future__ import annotations

import sys

__all__ = ["hides_bar"]


def hides_bar(shown: bool = True) -> bool | None:
    """The argument `disable` of `tqdm`: None hides a bar unless its output is a terminal.

    A notebook shows bars, too, although its output is no terminal.

    Example:
        >>> hides_bar(False)
        True
    """
    if not shown:
        return True
    return False if "ipykernel" in sys.modules else None
