"""Loops in processes of their own: timed in turns, ended one by one, never left behind."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarking import figures, isolation, loops, suite, timing
from benchmarking.loops import LOOPS, LoopKind, Setting
from benchmarking.reasons import NotRun
from benchmarking.workers import Workers

from tests.support.forked_workers import forked_workers  # noqa: F401
from tests.support.settings import SMALL, kind, setting
from tests.support.works import busy, exit_at_once, fail, kill_itself, raise_error, steps_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that choose bf16 by the hardware are compared in fp32."""
    monkeypatch.setattr(
        Setting, "engine", lambda self, compiled: suite.Engine("cpu", "fp32", "off")
    )


@contextmanager
def opened(**kinds: LoopKind) -> Iterator[dict[str, timing.Timed]]:
    """Loops in processes of their own, after their first steps."""
    with ExitStack() as stack:
        found = {
            name: timing.Timed.begin(kind, stack.enter_context(isolation.Worker()), setting("mlp"))
            for name, kind in kinds.items()
        }
        for timed in found.values():
            timed.start()
            timed.build()
        yield found


@pytest.mark.usefixtures("forked_workers")
def test_a_loop_that_cannot_be_built_is_told_of_in_one_line() -> None:
    broken = kind(partial(fail, reason=RuntimeError("no\n  compiler")))
    missing = kind(partial(fail, reason=NotRun("not here")))
    with opened(broken=broken, missing=missing) as timed:
        assert timed["broken"].reason == "RuntimeError: no compiler"
        assert timed["missing"].reason == "not here"


def test_a_step_that_falls_back_is_not_timed_as_compiled() -> None:
    with pytest.raises(NotRun, match="cannot be compiled"):
        loops.Silent().message("cannot be compiled, runs eagerly: no compiler")


# Before the first turn that counts, a loop takes the steps of its warming up and two more.
@pytest.fixture
def third_turn(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(timing, "TURN_SECONDS", 0.0)  # One step a turn.
    return timing.WARM_UP + 2 + 3


@pytest.mark.usefixtures("forked_workers")
def test_loops_that_end_leave_the_turns_of_others_alone(third_turn: int) -> None:
    ends = {"raises": raise_error, "exits": exit_at_once, "killed": kill_itself}
    broken = {name: kind(steps_until, third_turn, end) for name, end in ends.items()}
    said: list[str] = []
    with opened(plain=LOOPS["plain"], **broken, pyro=LOOPS["pyro"]) as timed:
        timing.interleave(timed, 4, said.append)
    assert said == [f"round {number}/4" for number in (1, 2, 3, 4)]
    assert [len(found.seconds) for found in timed.values()] == [4, 0, 0, 0, 4]
    assert min(timed["plain"].seconds + timed["pyro"].seconds) > 0
    assert {name: found.reason for name, found in timed.items()} == {
        "plain": "",
        "raises": "RuntimeError: no memory, after 2 rounds",
        "exits": "its process ended with exit code 3: last words, after 2 rounds",
        "killed": "its process ended with SIGKILL, after 2 rounds",
        "pyro": "",
    }


@pytest.mark.usefixtures("forked_workers")
def test_the_table_has_the_loops_that_run_beside_those_that_end(
    third_turn: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {name: LOOPS[name] for name in ("hand_eager", "plain")}
    own["pyrovae_eager"] = replace(kind(steps_until, third_turn, kill_itself), title="ours")
    monkeypatch.setattr(suite, "LOOPS", own)
    monkeypatch.setattr(suite, "CASES", SMALL)
    found = figures.Figures()
    engine = suite.Engine("cpu", "fp32", "off")
    plan = suite.Plan(engine, ("mlp",), tuple(own), rounds=3, compiled=False)
    suite.run(plan, ["steps"], found)
    assert set(found.find("steps", "mlp", "speed")) == {"hand_eager", "plain", "hand_best"}
    printed = capsys.readouterr().out
    assert re.search(r"ours +not run: its process ended with SIGKILL, after 2 rounds\n", printed)
    assert re.search(r"hand-written, not compiled +[\d,]+ ", printed)


def test_work_alone_gives_its_result_or_its_error() -> None:
    assert isolation.alone(print, "not an answer") is None
    with pytest.raises(NotRun, match="^ValueError: math domain error$"):
        isolation.alone(math.sqrt, -1.0)


def test_a_loop_keeps_its_process_until_that_ends(tmp_path: Path) -> None:
    with Workers(tmp_path, torch.device("cpu")) as workers:
        first, other = workers.get("plain"), workers.get("pyro")
        assert workers.get("plain") is first and other is not first
        first.begin(isolation.once, kill_itself)
        with pytest.raises(NotRun, match="^its process ended with SIGKILL$"):
            first.receive()
        second = workers.get("plain")
        for worker in (second, other, second):
            worker.begin(isolation.once, int)
            assert worker.receive() == 0
    assert second.ended and other.ended


def test_a_worker_that_is_busy_ends_when_it_is_closed() -> None:
    with isolation.Worker() as worker:
        worker.begin(busy)
        worker.receive()
        worker._send(None, None)
        folder = Path(worker._folder.name)
        assert alive(worker.pid) and folder.exists()
    assert not alive(worker.pid) and not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_that_is_busy_ends_with_the_process_that_started_it(number: int) -> None:
    program = """
import signal
from benchmarking.isolation import Worker
from tests.support.works import busy
# A shell starts what it puts into the background with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Worker() as worker:
    worker.begin(busy)
    worker.receive()
    print(worker.pid, flush=True)
    worker.ask()
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(number)
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may be there until it is waited for."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")
