"""Runs a command: connects processes, handles signals, prints errors in one line, exits."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from pyrovae.utils.errors import InputError
from pyrovae.utils.pipes import CLOSED, stdout_closed
from pyrovae.utils.process_group import Group, PeerFailed, processes
from pyrovae.utils.signals import (
    Diverged,
    Interrupted,
    swallowed_interrupts,
    take_over_interrupts,
)
from pyrovae.utils.text import cut_line

__all__ = ["run_command"]


def run_command(
    command: Callable[[list[str]], None], arguments: list[str] | None = None
) -> NoReturn:
    """Runs the main function of a command and exits; prints a user's mistake in one line.

    Args:
        command: the function.
        arguments: its command line; by default that of the process.

    Exit codes: 0 success; 1 the run diverged, or another process failed; 2 wrong input; 130
    stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP and 138 by SIGUSR1 (128 plus the signal's
    number), with training saved; 141 nobody reads standard output any more.
    """
    code, group = 0, Group()
    try:
        take_over_interrupts()
        group = processes()  # Connected first, so that each message is printed once.
        signal.signal(signal.SIGTERM, _terminate)
        command(_without_empty(sys.argv[1:] if arguments is None else arguments))
        group.leave()
        if swallowed_interrupts():
            raise KeyboardInterrupt
    except (InputError, OSError) as error:
        ended = isinstance(error, BrokenPipeError) and stdout_closed()
        code = CLOSED if ended else _complain(cut_line(_said(error)), 2, group)
    except (Diverged, PeerFailed) as error:
        code = _complain(str(error), 1, group)
    except Interrupted as error:
        code = _complain(str(error), 128 + error.signal, group)
    except _Terminated:
        code = _complain("stopped by SIGTERM", 128 + signal.SIGTERM, group)
    except KeyboardInterrupt:
        code = _complain("stopped by SIGINT", 128 + signal.SIGINT, group)
    swallowed_interrupts()  # Forgets them: a later command of this process must not see them.
    # `torchrun` may send a signal to a process that is ending already.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if code:
        group.abort(code)
    raise SystemExit(code)


def _without_empty(arguments: list[str]) -> list[str]:
    """Refuses an empty value: that of a shell variable that is not set. Returns the arguments."""
    for before, own in itertools.pairwise(["", *arguments]):
        name = own.removesuffix("=") if own else before
        if not own or (name != own and name.startswith("--")):
            named = name.startswith("--") and "=" not in name
            raise InputError(f"{name}: the value is empty" if named else "an argument is empty")
    return arguments


def _said(error: Exception) -> str:
    """The message of an error; of a file that the system refuses, its name and the reason."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


class _Terminated(KeyboardInterrupt):
    """SIGTERM arrived outside of training steps."""


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated


def _complain(text: str, code: int, group: Group) -> int:
    # A signal reaches all processes; an error may occur in one process only.
    if group.main if code >= 128 else group.first_to_say(text):
        sys.stderr.write(f"{'error: ' if code < 128 else ''}{text}\n")
    return code
