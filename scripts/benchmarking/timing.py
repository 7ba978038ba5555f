"""Times loops beside each other, turn by turn, so that all see the same state of the machine."""

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
from benchmarking.loops import Loop, LoopKind, NotRun, Setting

__all__ = ["Timed", "interleave", "start_compiler", "synchronize", "turns"]

WARM_UP = 3
TURN_SECONDS = 0.12


@dataclass
class Timed:
    """A loop in a process of its own, and what was measured of it.

    Attributes:
        kind: which it is.
        worker: runs `turns`.
        reason: why the loop could not be run, or not to the end; it has no seconds then.
        first_seconds: what its first steps took, compiling included.
        seconds: of a step, one number a round.
    """

    kind: LoopKind
    worker: Worker
    reason: str = ""
    first_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls, kind: LoopKind, worker: Worker, setting: Setting) -> Timed:
        """A loop whose process starts, or ends what it did before."""
        worker.begin(turns, kind, setting)
        return cls(kind, worker)

    def start(self) -> None:
        """Waits until the process has started."""
        self._answer(self.worker.receive)

    def build(self) -> None:
        """Builds the loop and takes its first steps."""
        self.first_seconds = self._answer(self.worker.ask)

    def turn(self, steps: int) -> float:
        """Seconds a step; infinite where the loop fails."""
        return self._answer(partial(self.worker.ask, steps))

    def round(self, steps: int) -> None:
        """A turn that counts."""
        seconds = self.turn(steps)
        if not self.reason:
            self.seconds.append(seconds)

    def close(self) -> None:
        """Gives back what the loop took; its process and its numbers stay."""
        if not self.worker.ended:
            self.worker.begin(once, int)
            with contextlib.suppress(NotRun):
                self.worker.receive()

    def _answer(self, ask: Callable[[], float]) -> float:
        """The answer of the worker; if there is none, its numbers are void."""
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
        """What the first steps took beyond so many ordinary ones."""
        return max(0.0, self.first_seconds - WARM_UP * step_seconds)


def synchronize(device: torch.device) -> None:
    """Waits until a device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Gives memory that is free now back to the device, for other processes."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def start_compiler(device: torch.device) -> None:
    """Lets the compiler take its first time, which is no loop's; loops will say why it cannot."""
    weight = torch.ones(64, device=device, requires_grad=True)
    with contextlib.suppress(Exception):  # Compilers fail in many ways.
        torch.compile(lambda x: (x + 1).square().sum())(weight).backward()


def turns(kind: LoopKind, setting: Setting) -> Generator[float, Any, None]:
    """What a loop's own process does.

    Yields:
        Nothing of worth, once what is no loop's time has passed; the seconds in which the loop
        was built and took its first steps; then, for each number of steps, the seconds of one.
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


def interleave(timed: dict[str, Timed], rounds: int, said: Callable[[str], None]) -> None:
    """Gives the loops turns in random order, and notes the seconds of a step in each.

    One process computes at a time: the others wait for their turn.

    Args:
        timed: the loops by name.
        rounds: turns of each loop.
        said: is told how far it is.
    """
    order, chance = [name for name, found in timed.items() if not found.reason], random.Random(0)
    steps = _steps_a_turn(timed)
    for number in range(rounds):
        said(f"round {number + 1}/{rounds}")
        chance.shuffle(order)
        for name in order:
            timed[name].round(steps)


def _steps_a_turn(timed: dict[str, Timed]) -> int:
    """So many steps that the fastest loop has a turn worth timing; the same for all."""
    fastest = min((found.turn(2) for found in timed.values()), default=math.inf)
    return max(1, math.ceil(TURN_SECONDS / fastest))
