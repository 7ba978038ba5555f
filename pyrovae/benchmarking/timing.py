"""Times loops beside each other, step by step, so that all see the same state of the machine."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from pyrovae.benchmarking.loops import Loop, LoopKind, NotRun, Setting

__all__ = ["Timed", "interleave", "ready", "start_compiler", "synchronize"]

WARM_UP = 3
TURN_SECONDS = 0.12


@dataclass
class Timed:
    """What was measured of a loop.

    Attributes:
        kind: which it is.
        loop: the loop itself; None where it could not be run.
        reason: why not.
        first_seconds: what its first steps took, compiling included.
        seconds: of a step, one number a round.
    """

    kind: LoopKind
    loop: Loop | None = None
    reason: str = ""
    first_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def compile_seconds(self, step_seconds: float) -> float:
        """What the first steps took beyond so many ordinary ones."""
        return max(0.0, self.first_seconds - WARM_UP * step_seconds)

    def close(self) -> None:
        """Gives back what the loop took; its numbers stay."""
        if self.loop is not None:
            self.loop.close()
        self.loop = None


def synchronize(device: torch.device) -> None:
    """Waits until a device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ready(kind: LoopKind, setting: Setting) -> Timed:
    """Builds a loop and takes its first steps; says so if it cannot."""
    started, timed = time.perf_counter(), Timed(kind)
    try:
        loop = Loop(kind, setting)
        for _ in range(WARM_UP):
            loop.first()
    except NotRun as error:
        timed.reason = str(error)
        return timed
    synchronize(setting.device)
    timed.loop, timed.first_seconds = loop, time.perf_counter() - started
    return timed


def start_compiler(device: torch.device) -> None:
    """Lets the compiler take its first time, which is no loop's; loops will say why it cannot."""
    with contextlib.suppress(Exception):  # Compilers fail in many ways.
        torch.compile(lambda x: (x + 1).sum())(torch.ones(64, device=device))


def interleave(timed: dict[str, Timed], rounds: int, said: Callable[[str], None]) -> None:
    """Gives the loops turns in random order, and notes the seconds of a step in each.

    Args:
        timed: the loops by name.
        rounds: turns of each loop.
        said: is told how far it is.
    """
    running = {name: found for name, found in timed.items() if found.loop is not None}
    order, chance = list(running), random.Random(0)
    steps = _steps_a_turn(running)
    for number in range(rounds):
        said(f"round {number + 1}/{rounds}")
        chance.shuffle(order)
        for name in order:
            running[name].seconds.append(_turn(running[name].loop, steps))


def _steps_a_turn(running: dict[str, Timed]) -> int:
    """So many steps that the fastest loop has a turn worth timing; the same for all."""
    fastest = min((_turn(found.loop, 2) for found in running.values()), default=math.inf)
    return max(1, math.ceil(TURN_SECONDS / fastest))


def _turn(loop: Loop | None, steps: int) -> float:
    """Seconds a step."""
    assert loop is not None
    with loop.active():
        synchronize(loop.device)
        started = time.perf_counter()
        for _ in range(steps):
            loop.step()
        synchronize(loop.device)
        return (time.perf_counter() - started) / steps
