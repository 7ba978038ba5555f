"""Why a loop did not run, in one line; imports nothing, so that processes start at once."""

from __future__ import annotations

from textwrap import shorten

__all__ = ["NotRun", "explain", "in_one_line"]


class NotRun(Exception):
    """A loop cannot run here; the text says why."""


def in_one_line(text: str) -> str:
    """Returns a text without line breaks, shortened to fit a table."""
    return shorten(" ".join(text.split()), 160)


def explain(error: BaseException) -> NotRun:
    """Converts any error to `NotRun` with a message of one line."""
    if isinstance(error, NotRun):
        return error
    return NotRun(f"{type(error).__name__}: {in_one_line(str(error))}")
