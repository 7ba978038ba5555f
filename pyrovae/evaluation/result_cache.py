"""A cache on disk for the parts of a long computation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from pyrovae.utils.files import replace_file
from pyrovae.utils.lazy import pandas as pd

__all__ = ["ResultCache"]


class ResultCache:
    """Tables in a folder: each is computed once, and read from its file after that.

    Args:
        folder: of the files; None disables the cache.
        settings: plain values that all tables depend on.

    Example:
        >>> ResultCache(None, {}).get("a", lambda: pd.DataFrame({"x": [1.5]}))["x"].tolist()
        [1.5]
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings

    def get(self, name: str, compute: Callable[[], pd.DataFrame], **settings: Any) -> pd.DataFrame:
        """The table of a name, from its file or else computed and written. Floats are exact.

        Args:
            name: of the table.
            compute: returns the table.
            **settings: further plain values that this table depends on.
        """
        if self.folder is None:
            return compute()
        path = self._path(name, settings)
        try:
            return _table(path.read_text(), path.name)
        except (OSError, ValueError, RecursionError):  # Missing, damaged, or of another version.
            found = compute()
        replace_file(path, _text(found, path.name))
        # Read again after writing, so that fresh and resumed computations get the same table.
        return _table(path.read_text(), path.name)

    def drop(self, name: str, **settings: Any) -> None:
        """Removes a table, such as one that a larger table contains."""
        if self.folder is not None:
            self._path(name, settings).unlink(missing_ok=True)

    def _path(self, name: str, settings: dict[str, Any]) -> Path:
        assert self.folder is not None
        text = json.dumps(self.settings | settings, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self.folder / f"{name}-{key}.json"


@lru_cache(maxsize=1)
def code_print() -> str:
    """A hash of the package's source and the versions of torch and pandas."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256(f"{torch.__version__} {pd.__version__}".encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _text(table: pd.DataFrame, name: str) -> str:
    """A table as JSON, because readers of CSV round; infinite values and NaN are strings."""
    columns = {
        name: [str(v) if isinstance(v, float) and not math.isfinite(v) else v for v in values]
        for name, values in table.to_dict("list").items()
    }
    floats = [name for name in table if table[name].dtype.kind == "f"]
    content = {"columns": columns, "floats": floats}
    # The checksum covers the file name, so that a renamed file of another table is rejected.
    note = {"code": code_print(), "sha256": _checksum(content | {"file": name})}
    return json.dumps(note | content, allow_nan=False)


def _table(text: str, name: str) -> pd.DataFrame:
    """The table in a file; raises `ValueError` if it is damaged, or of other code or name."""
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("code") != code_print():
        raise ValueError("not a table of this version of the code")
    content = {key: found.get(key) for key in ("columns", "floats")}
    if not content["columns"] or found.get("sha256") != _checksum(content | {"file": name}):
        raise ValueError("damaged")
    columns = {
        name: list(map(float, values)) if name in found["floats"] else values
        for name, values in found["columns"].items()
    }
    return pd.DataFrame(columns)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
