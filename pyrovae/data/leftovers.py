"""Deletes temporary folders that killed processes left in the cache."""

from __future__ import annotations

import os
import shutil
import socket
import time
import uuid
from pathlib import Path

from pyrovae.data.base import SPLITS

_ABANDONED_SECONDS = 24 * 3600

live: set[str] = set()  # names of the temporary folders that this process is writing
_swept: set[Path] = set()


def temporary_name(split: str) -> str:
    """A unique name for a temporary folder, with the machine and the process that write it."""
    return f".{split}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


def sweep(root: Path) -> None:
    """Deletes what killed builds left in all data sets of a cache, once per process."""
    if root not in _swept:
        _swept.add(root)
        for split in SPLITS:
            _remove(root, f"*/.{split}-*-[0-9]*-*")


def remove_abandoned(parent: Path, split: str) -> None:
    """Deletes what killed builds of one split of one data set left."""
    _remove(parent, f".{split}-*-[0-9]*-*")


def _remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        if _abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    host, pid = path.name.split("-", 1)[1].rsplit("-", 2)[:2]
    if host == socket.gethostname() and os.name == "posix" and pid.isdecimal():
        if int(pid) == os.getpid():
            return path.name not in live
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass  # a living process of another user, or not a process id
    # The process may be on another machine, or its id may be reused: a live build keeps writing.
    try:
        touched = max(entry.stat().st_mtime for entry in (path, *path.iterdir()))
    except OSError:
        return False
    return time.time() - touched > _ABANDONED_SECONDS
