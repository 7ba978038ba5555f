"""Files that are written whole or not at all, and the folder of the cache."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["cache_root", "replacing"]

#: How long a temporary file may belong to a process that cannot be asked for.
SECONDS_IN_WORK = 60


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """The folder of all that is kept for later: prepared images, texts of `--help`.

    Args:
        cache_dir: the folder, if it is given; otherwise the environment decides:
            `PYROVAE_CACHE`, then `XDG_CACHE_HOME/pyrovae`, then `~/.cache/pyrovae`.
    """
    chosen = cache_dir or os.environ.get("PYROVAE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pyrovae"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to, which takes the place of `path` in one move.

    Whatever happens in between, `path` holds either the old content or the whole new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        # Windows refuses to synchronise what is open for reading alone.
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # Pillow's own, which says what is wrong in its text.
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Deletes temporary files of the same name that killed processes left."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.split(".")[-2]
        with suppress(OSError):
            # A file of another machine's process is in work for seconds only.
            if time.time() - left.stat().st_mtime > SECONDS_IN_WORK and not _lives(pid):
                left.unlink()


def _lives(pid: str) -> bool:
    """Whether a process of this machine has the number; where none can tell, none has it."""
    if os.name != "posix" or not re.fullmatch("[0-9]{1,9}", pid):
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
