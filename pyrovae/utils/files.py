"""Files that are written whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing"]

#: Age up to which a temporary file may belong to a process on another machine.
SECONDS_IN_WORK = 60


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` at the end.

    At any moment `path` holds either the old content or the complete new one.
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
    """Deletes temporary files for the same path that killed processes left."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.split(".")[-2]
        with suppress(OSError):
            # A process on another machine writes for seconds only.
            if time.time() - left.stat().st_mtime > SECONDS_IN_WORK and not _lives(pid):
                left.unlink()


def _lives(pid: str) -> bool:
    """Whether a process with this number runs here; False where the system cannot tell."""
    if os.name != "posix" or not re.fullmatch("[0-9]{1,9}", pid):
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
