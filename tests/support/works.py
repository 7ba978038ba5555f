"""What a worker of the benchmark can be told to do; imports nothing, so that it starts at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator


def raise_error() -> None:
    raise RuntimeError("no\n  memory")


def exit_at_once() -> None:
    sys.stderr.write("a warning\nlast words\n\n")
    sys.stderr.flush()
    os._exit(3)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def busy() -> Iterator[None]:
    """Works for long on the second request."""
    yield
    time.sleep(600)
