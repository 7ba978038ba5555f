"""Times loops in turns, so that all of them see the same state of the machine."""

from __future__ import annotations

import contextlib
import gc
import math
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from benchmarking.isolation import Worker, once
from benchmarking.loops import Loop, LoopKind, Setting
from benchmarking.reasons import NotRun

__all__ = ["Timed", "interleave", "start_compiler", "synchronize", "turns"]

WARM_UP = 3
TURN_SECONDS = 0.12


@dataclass
class Timed:
    """A loop in its own process, with its timings.

    Attributes:
        kind: the kind of loop.
        worker: the process, which runs `turns`.
        reason: why the loop failed; empty if it did not. A failed loop has no timings.
        first_seconds: the time of building and of the first steps, compiling included.
        seconds: seconds per step, one number per round.
    """

    kind: LoopKind
    worker: Worker
    reason: str = ""
    first_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls, kind: LoopKind, worker: Worker, setting: Setting) -> Timed:
        """Starts a loop in a process, in place of the process's earlier work."""
        worker.begin(turns, kind, setting)
        return cls(kind, worker)

    def start(self) -> None:
        """Waits until the process has started."""
        self._answer(self.worker.receive)

    def build(self) -> None:
        """Builds the loop and takes the first steps."""
        self.first_seconds = self._answer(self.worker.ask)

    def turn(self, steps: int) -> float:
        """Takes some steps; returns the seconds per step, infinite if the loop fails."""
        return self._answer(partial(self.worker.ask, steps))

    def round(self, steps: int) -> None:
        """Takes a turn and records its seconds per step."""
        seconds = self.turn(steps)
        if not self.reason:
            self.seconds.append(seconds)

    def close(self) -> None:
        """Releases the resources of the loop; keeps the process and the timings."""
        if not self.worker.ended:
            self.worker.begin(once, int)
            with contextlib.suppress(NotRun):
                self.worker.receive()

    def _answer(self, ask: Callable[[], float]) -> float:
        """Returns the answer of the worker; if the loop fails, deletes its timings."""
        if self.reason:
            return math.inf
        try:
            return ask()
        except NotRun as error:
            done = f", after {len(self.seconds)} rounds" if self.seconds else ""
            self.reason = f"{error}{done}"
            self.seconds.clear()
            return math.inf

    def compile_seconds(self, step_seconds: float) -> float:
        """The time of building and of the first steps, minus that of as many later steps."""
        return max(0.0, self.first_seconds - WARM_UP * step_seconds)


def synchronize(device: torch.device) -> None:
    """Waits until a device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Returns free memory to the device, for other processes."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def start_compiler(device: torch.device) -> None:
    """Starts the compiler before any loop is timed; the loops report its errors."""
    weight = torch.ones(64, device=device, requires_grad=True)
    with contextlib.suppress(Exception):  # Compilers fail in many ways.
        torch.compile(lambda x: (x + 1).square().sum())(weight).backward()


def turns(kind: LoopKind, setting: Setting) -> Generator[float, Any, None]:
    """The generator that runs in the process of a loop.

    Yields:
        First 0.0, when the process is ready. Then the seconds of building the loop and of its
        first steps. Then, for each number of steps that is sent, the seconds per step.
    """
    if kind.compiled:
        start_compiler(setting.device)
    yield 0.0
    started = time.perf_counter()
    loop = Loop(kind, setting)
    try:
        for _ in range(WARM_UP):
            loop.first()
        synchronize(setting.device)
        steps = yield time.perf_counter() - started
        while True:
            steps = yield _seconds_a_step(loop, steps)
    finally:
        loop.close()
        del loop
        release(setting.device)


def _seconds_a_step(loop: Loop, steps: int) -> float:
    with loop.active():
        synchronize(loop.device)
        started = time.perf_counter()
        for _ in range(steps):
            loop.step()
        synchronize(loop.device)
        return (time.perf_counter() - started) / steps


def interleave(timed: dict[str, Timed], rounds: int, report: Callable[[str], None]) -> None:
    """Gives each loop one turn per round, in random order; records the seconds per step.

    Only one process computes at a time.

    Args:
        timed: the loops by name.
        rounds: turns per loop.
        report: receives a line of progress per round.
    """
    order, chance = [name for name, found in timed.items() if not found.reason], random.Random(0)
    steps = _steps_a_turn(timed)
    for number in range(rounds):
        report(f"round {number + 1}/{rounds}")
        chance.shuffle(order)
        for name in order:
            timed[name].round(steps)


def _steps_a_turn(timed: dict[str, Timed]) -> int:
    """Steps per turn, the same for all loops: the fastest loop takes at least `TURN_SECONDS`."""
    fastest = min((found.turn(2) for found in timed.values()), default=math.inf)
    return max(1, math.ceil(TURN_SECONDS / fastest))
