"""Standard output whose reader has seen enough, such as `head`."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

__all__ = ["CLOSED", "say", "stdout_closed"]

#: The exit code that a shell reports for SIGPIPE, which Windows lacks.
CLOSED = 141


def stdout_closed() -> bool:
    """Whether nobody reads standard output any more; further output then goes nowhere."""
    found = _broken()
    if found:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return found


def _broken() -> bool:
    try:
        sys.stdout.flush()
        # Without a buffer there is nothing to flush. Windows has no poll, captured output no file.
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (AttributeError, OSError, ValueError):
        return False


def say(text: str) -> None:
    """Prints a text; exits with `CLOSED` if nobody reads it."""
    with suppress(BrokenPipeError):
        print(text)
    if stdout_closed():
        raise SystemExit(CLOSED)
