"""Chooses the GPU or the CPU for sequential work by timing both."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from timeit import repeat

from pyrovae.engine import Engine
from pyrovae.inspection.subject import Subject

__all__ = ["fastest", "on_cpu", "placed"]

#: Warm-up runs, and timed runs of which the median is taken.
WARM_UP, TIMED = 3, 5

#: Another candidate replaces the first only if it takes less than this share of its time.
CLEARLY = 0.8


def fastest(
    candidates: dict[str, Callable[[], object]], *, clock: Callable[[], float] = time.perf_counter
) -> tuple[str, dict[str, float]]:
    """Times the same work on several devices, and returns the name of the fastest one.

    A single candidate is not run.

    Args:
        candidates: a function per device that does the work and waits for its result. The first
            is preferred unless another takes at least a fifth less time, so that noise rarely
            decides.
        clock: returns the time in seconds.

    Returns:
        The name, and the seconds of each candidate: the median of 5 runs after 3 warm-up runs.

    Example:
        >>> fastest({"cpu": lambda: 1})
        ('cpu', {})
    """
    first = next(iter(candidates))
    if len(candidates) == 1:
        return first, {}
    seconds = {name: _seconds(work, clock) for name, work in candidates.items()}
    best = min(seconds, key=lambda name: seconds[name])
    return (best if seconds[best] < CLEARLY * seconds[first] else first), seconds


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    return median(repeat(work, timer=clock, repeat=WARM_UP + TIMED, number=1)[WARM_UP:])


def placed(
    subject: Subject,
    prepare: Callable[[Subject], Callable[[], object]],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Subject, str]:
    """The subject on the device where some work is faster: its own device or the CPU.

    It is moved only if `Subject.movable` is true. CPU and GPU generators give different draws
    for the same seed. Name the device (`--device`) to reproduce a report exactly.

    Args:
        subject: what is inspected.
        prepare: returns, for a subject, a function that does the work and waits for its result.
        clock: returns the time in seconds.

    Returns:
        The subject, or a copy of it on the CPU, and a sentence if it was moved, else "".
    """
    if not subject.movable:
        return subject, ""
    moved, own = on_cpu(subject), str(subject.engine.device)
    name, seconds = fastest({own: prepare(subject), "the CPU": prepare(moved)}, clock=clock)
    if name == own:
        return subject, ""
    note = (
        f"This ran on the CPU: one gradient takes {1000 * seconds[name]:.1f} ms there and "
        f"{1000 * seconds[own]:.1f} ms on {own} (--device overrides this choice)."
    )
    return moved, note


def on_cpu(subject: Subject) -> Subject:
    """A copy of a subject with its programs on the CPU; images and data are shared."""
    engine = Engine("cpu", "bf16" if subject.engine.precision == "bf16" else "fp32")
    data = subject.programs.data
    programs = copy.deepcopy(subject.programs, {id(data): data}).to("cpu")
    return replace(subject, programs=programs, engine=engine)
