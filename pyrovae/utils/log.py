"""Warnings of the package, in one line each."""

from __future__ import annotations

import logging

__all__ = ["warn"]


def warn(line: str) -> None:
    """Logs a warning on the logger `pyrovae`, with the place of the caller."""
    logging.getLogger("pyrovae").warning("%s", line, stacklevel=2)
