"""Temporary files beside those that they will replace, and what killed processes left of them."""

from __future__ import annotations

import glob
import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["sweep", "temporary_for"]

#: How long a temporary file may belong to a process that cannot be asked for.
SECONDS_IN_WORK = 60


def temporary_for(path: Path) -> Path:
    r"""A name beside a file to write its new content to, which says who writes it.

    Example:
        >>> import re
        >>> name = temporary_for(Path("metrics.csv")).name
        >>> bool(re.fullmatch(r"\.metrics\.csv\.[0-9]+@[\w-]*\.tmp", name))
        True
    """
    return path.with_name(f".{path.name}.{os.getpid()}@{_host()}.tmp")


def sweep(path: Path) -> None:
    """Deletes temporary files for a file that killed processes left."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid, _, host = left.name.split(".")[-2].partition("@")
        with suppress(OSError):
            # A file of another machine's process is in work for seconds only.
            known = host == _host() != ""
            old = time.time() - left.stat().st_mtime > SECONDS_IN_WORK
            if (known or old) and not _lives(pid):
                left.unlink()


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname())


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
