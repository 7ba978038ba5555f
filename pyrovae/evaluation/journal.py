"""Pieces of a long computation, kept as they are done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pyrovae.checkpoint import replacing

__all__ = ["Journal"]


class Journal:
    """Keeps tables in a folder, so that what was computed once is read the next time.

    Args:
        folder: where they are; None keeps nothing.
        settings: plain values that decide what all of them hold.

    Example:
        >>> Journal(None, {}).piece("a", lambda: pd.DataFrame({"x": [1.5]}))["x"].tolist()
        [1.5]
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings

    def piece(
        self, name: str, compute: Callable[[], pd.DataFrame], **settings: Any
    ) -> pd.DataFrame:
        """The table of that name, computed unless it is there; floats are kept exactly.

        Args:
            name: of the table.
            compute: gives it.
            **settings: what decides this one besides.
        """
        if self.folder is None:
            return compute()
        path = self._path(name, settings)
        try:
            return _table(path.read_text())
        except (OSError, ValueError):  # Not there, or damaged.
            found = compute()
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found.to_dict("list")))  # Readers of CSV round.
        # Read also where it was just written: the same whether it went on or not.
        return _table(path.read_text())

    def drop(self, name: str, **settings: Any) -> None:
        """Removes a table that a larger one holds."""
        if self.folder is not None:
            self._path(name, settings).unlink(missing_ok=True)

    def _path(self, name: str, settings: dict[str, Any]) -> Path:
        assert self.folder is not None
        text = json.dumps(self.settings | settings, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self.folder / f"{name}-{key}.json"


def _table(text: str) -> pd.DataFrame:
    """The table that a file holds; `ValueError` if it holds none."""
    columns = json.loads(text)
    if not (isinstance(columns, dict) and columns):
        raise ValueError("no table")
    return pd.DataFrame(columns)
