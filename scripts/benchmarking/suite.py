"""The sections of a benchmark: each measures, prints a table and adds rows to the figures."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarking.cases import CASES
from benchmarking.feeding import feed
from benchmarking.figures import Figures
from benchmarking.isolation import once
from benchmarking.loops import LOOPS, REFERENCE, Setting
from benchmarking.memory import peak_bytes
from benchmarking.preparation import prepare
from benchmarking.reasons import NotRun, explain
from benchmarking.scaling import seconds_an_image, sizes
from benchmarking.statistics import Spread, break_even, ratio, spread
from benchmarking.timing import Timed, interleave
from benchmarking.workers import Workers
from pyrovae.data.workers import num_cores
from pyrovae.engine import Engine

__all__ = ["SECTIONS", "Plan", "run"]

BEST = "hand_best"
PLAIN = "pyrovae_eager"


@dataclass(frozen=True)
class Plan:
    """The extent of a benchmark.

    Attributes:
        engine: determines device and precision.
        cases: names of cases.
        loops: names of loops.
        rounds: turns per loop.
        batch_size: images per step; None for the batch size of each case.
        compiled: whether to run compiled loops.
        quick: whether to measure fewer steps and images.
    """

    engine: Engine
    cases: tuple[str, ...]
    loops: tuple[str, ...]
    rounds: int
    batch_size: int | None = None
    compiled: bool = True
    quick: bool = False

    def setting(self, name: str) -> Setting:
        """The setting of a case."""
        case = CASES[name]
        case = replace(case, batch_size=self.batch_size or case.batch_size)
        return Setting(case, self.engine.device, self.engine.precision)

    def chosen(self) -> list[str]:
        """The loops to run."""
        bf16 = self.engine.precision == "bf16"
        return [
            name
            for name in self.loops
            if (self.compiled or not LOOPS[name].compiled) and (bf16 or not LOOPS[name].bf16_only)
        ]

    @property
    def reference(self) -> str:
        """The loop that the others are compared with."""
        return REFERENCE if self.compiled else PLAIN


def say(text: str = "") -> None:
    """Prints a line at once, and clears the progress line."""
    _pass("", "")
    print(text, flush=True)


def _pass(case: str, text: str) -> None:
    """Shows a progress line on a terminal; the next line replaces it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{case} {text}")
        sys.stderr.flush()


def steps(plan: Plan, figures: Figures, workers: Workers) -> None:
    """Times the training steps of all loops in turns, each in its own process."""
    for name in plan.cases:
        setting = plan.setting(name)
        timed = _begun(plan, setting, workers)
        for loop in timed.values():
            _pass(name, loop.kind.title_on(setting.device))
            loop.build()
        interleave(timed, plan.rounds, partial(_pass, name))
        for loop in timed.values():
            loop.close()
        say(f"\nsteps, {name}: {setting.case.title}, batch {setting.case.batch_size}")
        _add_steps(plan, setting, timed, figures)
        _print_steps(plan, name, timed, figures)


def _begun(plan: Plan, setting: Setting, workers: Workers) -> dict[str, Timed]:
    """Starts the processes of all loops of a plan before any loop is timed."""
    _pass(setting.case.name, "starting")
    # The others can start while the first compiled loop waits for the compiler to start.
    order = sorted(plan.chosen(), key=lambda name: LOOPS[name].compiled)
    begun = {name: Timed.begin(LOOPS[name], workers.get(name), setting) for name in order}
    for loop in begun.values():
        loop.start()
    return {name: begun[name] for name in plan.chosen()}


def _add_steps(plan: Plan, setting: Setting, timed: dict[str, Timed], figures: Figures) -> None:
    """Adds the rows of one case; the fastest hand-written loop is also added as the best."""
    case, size = setting.case.name, setting.case.batch_size
    run = {name: found for name, found in timed.items() if found.seconds}
    medians = {name: spread(found.seconds).value for name, found in run.items()}
    everything = dict(run)
    best = _best_by_hand(run, plan.reference)
    if best is not None:
        everything[BEST] = run[best]
    for name, found in everything.items():
        seconds = spread(found.seconds)
        figures.add("steps", case, name, "speed", seconds.per(size), "images/s")
        figures.add("steps", case, name, "step", Spread(*(1e3 * s for s in seconds)), "ms")
        if plan.reference in run:
            times = ratio(found.seconds, run[plan.reference].seconds)
            figures.add("steps", case, name, "time over pyrovae's", times, "times")
        if found.kind.compiled:
            compiling = found.compile_seconds(seconds.value)
            figures.add("steps", case, name, "compile", compiling, "s")
    if REFERENCE in run and PLAIN in run:
        compiling = run[REFERENCE].compile_seconds(medians[REFERENCE])
        earned = break_even(compiling, medians[PLAIN], medians[REFERENCE])
        figures.add("steps", case, REFERENCE, "break-even", earned, "steps")


def _print_steps(plan: Plan, case: str, timed: dict[str, Timed], figures: Figures) -> None:
    speed = figures.find("steps", case, "speed")
    times = figures.find("steps", case, "time over pyrovae's")
    compiling = figures.find("steps", case, "compile")
    against = LOOPS[plan.reference].title
    say(f"  {'loop':41s} {'images/s':>9s}   {'ms/step':>9s}  {against} is faster by  compile")
    for name, found in timed.items():
        title = found.kind.title_on(plan.engine.device)
        if name not in speed:
            say(f"  {title:41s} not run: {found.reason}")
            continue
        milliseconds = figures.find("steps", case, "step")[name].value
        text = f"  {title:41s} {speed[name].value:9,.0f}   {milliseconds:9.2f}"
        if name in times:
            row = times[name]
            text += f"  {row.value:5.2f} times ({row.low:.2f} to {row.high:.2f})"
        if name in compiling:
            text += f"  {compiling[name].value:7.0f} s"
        say(text)
    best = _best_by_hand({n: f for n, f in timed.items() if f.seconds}, plan.reference)
    if best is not None and BEST in times:
        title = LOOPS[best].title_on(plan.engine.device)
        say(f"  best hand-written: '{title}'; {against} has {times[BEST].value:.3f} of its speed")
    for row in figures.find("steps", case, "break-even").values():
        say(f"  compiling pyrovae's step pays off after {row.value:,.0f} steps")


def _best_by_hand(run: dict[str, Timed], reference: str) -> str | None:
    """The fastest hand-written loop by its median ratio over rounds; None if there is none."""

    def slowness(name: str) -> float:
        compared = run.get(reference, run[name])
        return ratio(run[name].seconds, compared.seconds).value

    return min((name for name in run if LOOPS[name].hand), key=slowness, default=None)


def memory(plan: Plan, figures: Figures, workers: Workers) -> None:
    """Measures the peak memory of each loop, each in its own process."""
    for case in plan.cases:
        setting = plan.setting(case)
        say(f"\nmemory, {case}: peak of each loop, compiler included")
        for name in plan.chosen():
            title = LOOPS[name].title_on(setting.device)
            _pass(case, title)
            try:
                peak = peak_bytes(name, setting) / 2**20
            except NotRun as error:
                say(f"  {title:41s} not run: {error}")
                continue
            figures.add("memory", case, name, "peak", peak, "MiB")
            say(f"  {title:41s} {peak:9,.0f} MiB")


def feeding(plan: Plan, figures: Figures, workers: Workers) -> None:
    """Times the real training loop, and the same loop on one batch."""
    for case in plan.cases:
        setting = plan.setting(case)
        _pass(case, "input")
        given = setting, plan.compiled, max(2, plan.rounds // 2), _steps_an_epoch(case, plan)
        try:
            fed, repeated = _answer(plan, workers, feed, *given)
        except NotRun as error:
            say(f"\ninput, {case}: not run: {error}")
            continue
        size = setting.case.batch_size
        speeds = {"memory map": spread(fed).per(size), "one batch": spread(repeated).per(size)}
        say(f"\ninput, {case}: the training loop on images from disk, and on one batch repeated")
        for name, found in speeds.items():
            figures.add("input", case, name, "speed", found, "images/s")
            say(f"  {name:32s} {found.value:9,.0f} images/s")
        share = ratio(repeated, fed)
        figures.add("input", case, "memory map", "share of one batch", share, "times")
        say(f"  {'share':32s} {share.value:9.3f} ({share.low:.3f} to {share.high:.3f})")


def _answer(plan: Plan, workers: Workers, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in the process of the reference loop, which may be compiled already."""
    worker = workers.get(plan.reference)
    worker.begin(once, function, *arguments)
    return worker.receive()


def _steps_an_epoch(case: str, plan: Plan) -> int:
    """The number of steps per timed epoch."""
    usual = {"conv": 12, "mlp": 300}[case] * (10 if plan.engine.device.type == "cuda" else 1)
    return usual // (3 if plan.quick else 1)


def preparation(plan: Plan, figures: Figures, workers: Workers) -> None:
    """Times the preparation of photographs."""
    _pass("", "preparing photographs")
    try:
        count, prepared, decoded = prepare(100 if plan.quick else 400, 8, plan.rounds)
    except Exception as error:  # Such as a full disk, or no memory for the worker processes.
        say(f"\ndata: not run: {explain(error)}")
        return
    say(f"\ndata: {count:,} JPEG files of 178x218, cropped, to 64x64, on {num_cores()} cores")
    for name, seconds in (("prepared", prepared), ("decoded with Pillow", decoded)):
        speed = spread(seconds).per(count)
        figures.add("data", "", name, "speed", speed, "images/s")
        say(f"  {name:32s} {speed.value:9,.0f} images/s")
    share = ratio(decoded, prepared)
    figures.add("data", "", "prepared", "share of decoding", share, "times")
    say(f"  {'share':32s} {share.value:9.3f} ({share.low:.3f} to {share.high:.3f})")


def scaling(plan: Plan, figures: Figures, workers: Workers) -> None:
    """Times the training loop for several sizes of images, batches and data sets."""
    say("\nscaling, conv: the training loop")
    rounds = max(2, plan.rounds // 4)
    for what, number, setting, num_images in sizes(plan.setting("conv")):
        _pass("conv", f"{what} {number:,}")
        given = setting, plan.compiled, rounds, num_images
        try:
            seconds = _answer(plan, workers, seconds_an_image, *given)
        except NotRun as error:
            say(f"  {what + f' {number:,}':32s} not run: {error}")
            continue
        speed = spread(seconds).per(1)
        figures.add("scaling", "conv", f"{what} {number}", "speed", speed, "images/s")
        say(f"  {what + f' {number:,}':32s} {speed.value:9,.0f} images/s")


#: The sections by their names on the command line.
SECTIONS: dict[str, Callable[[Plan, Figures, Workers], None]] = {
    "steps": steps,
    "input": feeding,
    "data": preparation,
    "scaling": scaling,
    "memory": memory,
}


def run(plan: Plan, sections: Sequence[str], figures: Figures) -> None:
    """Measures sections, in the order of `SECTIONS`.

    Args:
        plan: the extent of the benchmark.
        sections: names of sections.
        figures: receives each row when it is measured.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Workers(Path(folder), plan.engine.device) as workers,
    ):
        for name, measure in SECTIONS.items():
            if name in sections:
                measure(plan, figures, workers)
