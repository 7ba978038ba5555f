"""Where sequential work runs: on the GPU or on the CPU, by what measures faster."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from pyrovae.engine import Engine
from pyrovae.inspection.subject import Subject
from pyrovae.programs.pair import ModelGuidePair

__all__ = ["fastest", "on_cpu", "placed"]

#: Runs that warm a device up, and runs whose median time counts.
WARM_UP, TIMED = 3, 5

#: The first candidate is kept unless another takes less than so much of its time.
CLEARLY = 0.8


def fastest(
    candidates: dict[str, Callable[[], object]], *, clock: Callable[[], float] = time.perf_counter
) -> tuple[str, dict[str, float]]:
    """Times the same piece of work on several devices, and names the fastest one.

    With one candidate nothing is run.

    Args:
        candidates: for each device a piece of work, which must wait for its result. The first
            is kept unless another one is faster by a fifth, so that chance decides rarely.
        clock: gives seconds.

    Returns:
        The name, and the seconds that each one took: the median of 5 runs after 3 others.

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
    for _ in range(WARM_UP):
        work()
    found = []
    for _ in range(TIMED):
        start = clock()
        work()
        found.append(clock() - start)
    return median(found)


def placed(
    subject: Subject,
    prepare: Callable[[Subject], Callable[[], object]],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Subject, str]:
    """The subject on the device where a piece of work is faster, its own or the CPU.

    It is moved only where `Subject.movable` allows it. Draws are those of the device's
    generator: of the same seed a subject that is moved draws others. Name the device
    (`--device`) to repeat a report to the last digit.

    Args:
        subject: what is inspected.
        prepare: makes the piece of work, which must wait for its result, for a subject.
        clock: gives seconds.

    Returns:
        The subject, or a copy of it on the CPU; and a sentence if it was moved, else "".
    """
    if not subject.movable:
        return subject, ""
    moved, own = on_cpu(subject), str(subject.engine.device)
    name, seconds = fastest({own: prepare(subject), "the CPU": prepare(moved)}, clock=clock)
    if name == own:
        return subject, ""
    said = (
        f"This ran on the CPU: one gradient takes {1000 * seconds[name]:.1f} ms there and "
        f"{1000 * seconds[own]:.1f} ms on {own} (--device decides otherwise)."
    )
    return moved, said


def on_cpu(subject: Subject) -> Subject:
    """A copy of a subject whose programs are on the CPU; images and data are shared."""
    engine = Engine("cpu", "bf16" if subject.engine.precision == "bf16" else "fp32")
    return replace(subject, programs=_copied(subject.programs), engine=engine)


def _copied(programs: ModelGuidePair) -> ModelGuidePair:
    shared = {id(programs.data): programs.data}
    return copy.deepcopy(programs, shared).to("cpu")
