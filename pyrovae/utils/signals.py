"""Signals, and the exceptions that end training early."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "Diverged",
    "Interrupted",
    "quiet",
    "signals",
    "swallowed_interrupts",
    "take_over_interrupts",
]


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run after a complete step, and the run was saved.

    Args:
        number: the signal's number.
        where: the step that was the last.
        run: the run directory, where there is one.

    Attributes:
        signal: the signal's number.
        history: the metrics of the complete epochs, as `Trainer.fit` returns them.
    """

    history: Any = None

    def __init__(self, number: int, where: str, run: Path | None) -> None:
        self.signal = number
        saved = f"; everything is saved, continue with --resume {run} (resume=True in Python)"
        stopped = f"stopped by {signal.Signals(number).name} after {where}"
        super().__init__(stopped + (saved if run else ""))


class Diverged(RuntimeError):
    """Many steps in a row were not finite."""


#: Signals that end a run: Ctrl-C, and a job that is cancelled.
ENDING = [signal.SIGINT, signal.SIGTERM]
#: A terminal that is closed, and the warning of a queue before its time limit. Windows lacks them.
MORE = [signal.Signals[name] for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name)]

_asked: list[int] = []


def take_over_interrupts() -> None:
    """Makes Ctrl-C raise `KeyboardInterrupt`, and records it in case other code swallows it."""
    _asked.clear()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def swallowed_interrupts() -> list[int]:
    """Signals that were swallowed since `take_over_interrupts`; each is returned once."""
    found = list(_asked)
    _asked.clear()
    return found


def _interrupt(number: int, frame: Any) -> None:
    _asked.append(number)
    raise KeyboardInterrupt


@contextmanager
def signals() -> Iterator[list[int]]:
    """Records the signals that end a run in a list; a second signal acts as usual."""
    seen = swallowed_interrupts()
    before: dict[int, Any] = {}
    terminals = [file for file in (1, 2) if os.isatty(file)]
    number: int

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(number, before[number])
        if signal.Signals(number).name == "SIGHUP":  # Writing to a closed terminal would fail.
            with open(os.devnull, "wb") as nothing:
                for file in terminals:
                    os.dup2(nothing.fileno(), file)

    try:
        # `nohup` lets SIGHUP be ignored, and it stays so.
        more = [number for number in MORE if signal.getsignal(number) is not signal.SIG_IGN]
        for number in (*ENDING, *more):
            before[number] = signal.signal(number, note)
    except ValueError:
        pass  # Only the main thread may handle signals; elsewhere they act as usual.
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings of Pyro and compilers that the training loop handles itself.

    The loop counts and reports losses that are not finite. Frozen parameters are intended.
    Compilers look for CUDA on machines without a GPU.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    logging.getLogger("pyro.infer.elbo").setLevel(logging.WARNING)  # Guesses of plate nesting.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]?inf)")
        warnings.filterwarnings("ignore", message=".*was not registered in the param store")
        yield
