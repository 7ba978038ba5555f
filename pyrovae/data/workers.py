"""Computes a function on all cores, with results in order."""

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
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from pyrovae.utils.signals import signals

__all__ = ["each_in_order", "map_in_order", "look_ahead", "num_cores", "shared_array"]

_adopted: Callable[..., Any] | None = None


def num_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def look_ahead() -> int:
    """The number of calls that `map_in_order` runs ahead of the consumer."""
    return 4 * num_cores()


def shared_array(shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array in shared memory, which the workers of `map_in_order` can write.

    Forked children share this memory. It is freed with the last array that uses it.
    """
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


def map_in_order(
    function: Callable[[int], Any], arguments: Iterable[int], processes: bool
) -> Generator[Any, None, None]:
    """Yields `function(argument)` in order, computed on all cores a few calls ahead.

    Call number `n + look_ahead()` starts only after the consumer has requested result `n + 1`,
    and so has finished with result `n`.

    Args:
        function: the function; its results and errors must be picklable.
        arguments: the arguments, one per call.
        processes: whether to use forked processes on Linux; otherwise threads are used. Half of
            opening an image is Python code, which threads cannot run in parallel.
    """
    left = iter(arguments)
    pool, task = _pool(function, processes and sys.platform == "linux")
    pending: deque[Future[Any]] = deque()
    try:
        with warnings.catch_warnings():
            # The children only decode images, so locks of other threads do not matter.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
            # Python drops an exception that a signal handler raises during a fork: signals wait.
            with signals() as seen:
                pending.extend(pool.submit(task, i) for i in islice(left, look_ahead()))
        for number in seen:
            signal.raise_signal(number)
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(task, i) for i in islice(left, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def each_in_order(function: Callable[[int], Any], count: int) -> Iterator[Any]:
    """Yields `function(0)` to `function(count - 1)`, in other processes if they are many."""
    with closing(map_in_order(function, range(count), processes=count > 500)) as found:
        yield from found


def _pool(function: Callable[[int], Any], fork: bool) -> tuple[Executor, Callable[[int], Any]]:
    if not fork:
        return ThreadPoolExecutor(num_cores(), thread_name_prefix="pyrovae-cache"), function
    context = multiprocessing.get_context("fork")
    given = (function, os.getpid())
    pool = ProcessPoolExecutor(num_cores(), context, initializer=_adopt, initargs=given)
    return pool, _call_adopted


def _adopt(function: Callable[[int], Any], parent: int) -> None:
    """Initialises a child process: it ignores Ctrl-C and ends with its parent."""
    global _adopted
    _adopted = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # The parent ended before prctl took effect: no signal will come.
        os._exit(1)


def _call_adopted(argument: int) -> Any:
    assert _adopted is not None
    return _adopted(argument)
