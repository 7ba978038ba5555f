"""Pieces of a long computation, kept as they are done."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pyrovae.checkpoint import replacing

__all__ = ["Journal"]


class Journal:
    """Keeps tables in a folder, so that what was computed once is read the next time.

    The folder belongs to one set of settings: others have folders of their own.

    Args:
        root: where the folders are; None keeps nothing.
        settings: plain values that decide what the tables hold.

    Example:
        >>> Journal(None, {}).piece("a", lambda: pd.DataFrame({"x": [1.5]}))["x"].tolist()
        [1.5]
    """

    def __init__(self, root: Path | None, settings: dict[str, Any]) -> None:
        text = json.dumps(settings, sort_keys=True)
        self.settings = settings
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.folder = None if root is None else root / key

    def piece(self, name: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table of that name, computed unless it is there; floats are kept exactly."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.json"
        if not path.exists():
            found = compute()
            with replacing(path) as temporary:
                # Not CSV: readers of it round.
                temporary.write_text(json.dumps(found.to_dict("list")))
        # Read also where it was just written: the same whether it went on or not.
        return pd.DataFrame(json.loads(path.read_text()))

    def has(self, name: str) -> bool:
        """Whether the table of that name is there already."""
        return self.folder is not None and (self.folder / f"{name}.json").exists()

    def drop(self, prefix: str) -> None:
        """Removes tables that a larger one holds."""
        if self.folder is not None:
            for path in self.folder.glob(f"{prefix}*.json"):
                path.unlink()

    def clear(self) -> None:
        """Removes all of it."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
