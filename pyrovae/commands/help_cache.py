"""Caches the text of `--help`: making it takes seconds, because it imports torch."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pyrovae.utils.files import cache_root, replacing

__all__ = ["is_kept", "kept_help"]

#: Lines that ask for help and name presets and classes of pyrovae only. Files and classes of the
#: user have other characters in their names.
_KEPT = re.compile(
    r"(--config[ =]\w+ |--[a-z_.]+[ =][A-Z]\w* )*(-h|--help|--[a-z_.]+\.help[ =][A-Z]\w*)"
)
#: Packages other than this one that the text depends on.
MADE_WITH = ("jsonargparse", "pyro", "torch")


def is_kept(arguments: list[str]) -> bool:
    """Whether a command line asks for a help text that depends on the package alone.

    Example:
        >>> is_kept(["--config", "celeba", "--help"]), is_kept(["--prior.help", "VampPrior"])
        (True, True)
        >>> is_kept(["--prior.help", "my_parts.Cauchy"]), is_kept(["--trainer.epochs", "3"])
        (False, False)
    """
    known = _KEPT.fullmatch(" ".join(arguments)) is not None
    return known and not any(Path(word.rpartition("=")[2]).exists() for word in arguments)


def kept_help(name: str, arguments: list[str], make: Callable[[], str]) -> str:
    """Returns a help text from the user's cache; makes and stores it if it is stale.

    Args:
        name: the command.
        arguments: its command line, see `is_kept`.
        make: returns the text; an empty text is not stored.
    """
    line = " ".join([name, *arguments])
    key = _key(line)
    place = cache_root() / "help" / f"{hashlib.sha256(line.encode()).hexdigest()[:16]}.txt"
    with suppress(OSError, ValueError, RuntimeError):
        first, _, text = place.read_text("utf-8").partition("\n")
        if first == key:
            return text
    if text := make():
        with suppress(OSError, ValueError, RuntimeError), replacing(place) as new:
            new.write_text(f"{key}\n{text}", "utf-8")
    return text


def _key(line: str) -> str:
    """A hash of all that the text depends on: files, libraries, interpreter, terminal width."""
    package = Path(__file__).parents[1].rglob("*")
    files = sorted(path for path in package if path.suffix in (".py", ".yaml"))
    found = (importlib.util.find_spec(module) for module in MADE_WITH)
    files += [Path(spec.origin) for spec in found if spec and spec.origin]
    stamps = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    seen = (line, shutil.get_terminal_size().columns, sys.version, stamps)
    return hashlib.sha256(repr(seen).encode()).hexdigest()
