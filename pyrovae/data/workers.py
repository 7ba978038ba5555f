"""A pool that decodes images on all cores."""

from __future__ import annotations

import ctypes
import math
import mmap
import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from pyrovae.utils.signals import signals

__all__ = ["in_order", "look_ahead", "num_cores", "shared_array"]

_adopted: Callable[..., Any] | None = None


def num_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def look_ahead() -> int:
    """How many of its calls `in_order` has in work or finished but not yet taken."""
    return 4 * num_cores()


def shared_array(shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array that `function` of `in_order` can write and the reader of it can see.

    Memory of this kind stays one and the same in forked children, and is freed with the last
    array on it.
    """
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


def in_order(
    function: Callable[[int], Any], arguments: Iterable[int], processes: bool
) -> Generator[Any, None, None]:
    """Yields `function(argument)` in order, computed on all cores, a few ahead of the reader.

    The call `look_ahead()` places after another begins only when the reader, done with that
    one's result, asks for the next.

    Args:
        function: what to compute; its results and errors must be picklable.
        arguments: what for.
        processes: whether to fork where that is safe and cheap (Linux), else threads. Opening an
            image is half Python, which threads do one at a time.
    """
    left = iter(arguments)
    pool, task = _pool(function, processes and sys.platform == "linux")
    pending: deque[Future[Any]] = deque()
    try:
        with warnings.catch_warnings():
            # The children decode images and nothing else: no lock of another thread matters.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
            # Python prints and forgets what a signal raises while it forks, so that must wait.
            with signals() as seen:
                pending.extend(pool.submit(task, i) for i in islice(left, look_ahead()))
        for number in seen:
            signal.raise_signal(number)
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(task, i) for i in islice(left, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(function: Callable[[int], Any], fork: bool) -> tuple[Executor, Callable[[int], Any]]:
    if not fork:
        return ThreadPoolExecutor(num_cores(), thread_name_prefix="pyrovae-cache"), function
    context = multiprocessing.get_context("fork")
    given = (function, os.getpid())
    pool = ProcessPoolExecutor(num_cores(), context, initializer=_adopt, initargs=given)
    return pool, _call_adopted


def _adopt(function: Callable[[int], Any], parent: int) -> None:
    """Begins a child: it leaves signals to its parent, and does not outlive it."""
    global _adopted
    _adopted = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # It was killed before that: no signal will come.
        os._exit(1)


def _call_adopted(argument: int) -> Any:
    assert _adopted is not None
    return _adopted(argument)
