"""Caches the text of `--help`: making it takes seconds, because it imports torch."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pyrovae.utils.files import cache_root, replacing

__all__ = ["kept_help"]

#: Packages other than this one that the text depends on.
MADE_WITH = ("jsonargparse", "pyro", "torch")


def kept_help(name: str, make: Callable[[], str]) -> str:
    """Returns the help of a command from the user's cache; makes and stores it if it is stale."""
    key = _key(name)
    with suppress(OSError, ValueError, RuntimeError):
        first, _, text = _place(name).read_text("utf-8").partition("\n")
        if first == key:
            return text
    text = make()
    with suppress(OSError, ValueError, RuntimeError), replacing(_place(name)) as new:
        new.write_text(f"{key}\n{text}", "utf-8")
    return text


def _place(name: str) -> Path:
    return cache_root() / "help" / f"{name}.txt"


def _key(name: str) -> str:
    """A hash of all that the text depends on: files, libraries, interpreter, terminal width."""
    package = Path(__file__).parents[1].rglob("*")
    files = sorted(path for path in package if path.suffix in (".py", ".yaml"))
    found = (importlib.util.find_spec(module) for module in MADE_WITH)
    files += [Path(spec.origin) for spec in found if spec and spec.origin]
    stamps = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    seen = (name, shutil.get_terminal_size().columns, sys.version, stamps)
    return hashlib.sha256(repr(seen).encode()).hexdigest()
