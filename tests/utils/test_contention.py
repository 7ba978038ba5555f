"""Other processes that slow the threads of this one down."""

from __future__ import annotations

import pytest

from pyrovae.training.callbacks import Console
from pyrovae.training.callbacks.base import RunInfo
from pyrovae.utils import contention
from pyrovae.utils.contention import Contention


@pytest.mark.parametrize(
    ("threads", "often", "told"), [(2, 235, True), (2, 33, False), (1, 235, False)]
)
def test_many_interruptions_are_told_once(
    threads: int, often: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr(contention.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(contention, "interruptions", lambda: int(often * clock["now"]))
    watch = Contention(threads)
    lines = []
    for second in range(30):
        clock["now"] = float(second)
        lines.append(watch.line())
    found = [line for line in lines if line]
    assert len(found) == told and not any(lines[:10])
    assert all(
        "interrupt the 2 threads of this run 235 times per second" in line for line in found
    )


def test_where_interruptions_are_not_counted_there_is_no_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contention, "interruptions", lambda: None)
    watch = Contention(4)
    watch.WATCHED = 0.0  # type: ignore[misc]
    assert watch.line() == ""


@pytest.mark.parametrize(("threads", "told"), [(2, True), (0, False)])
def test_the_terminal_warns_of_threads_that_wait(
    threads: int, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Contention, "WATCHED", 0.0)
    monkeypatch.setattr(contention, "interruptions", lambda: next(counts))
    counts = iter(range(0, 10**9, 10**8))
    console = Console()
    console.begin(RunInfo(None, 1, 0, 0, False, True, console.message, threads=threads))
    console.begin_epoch(1, 10, 0)
    console.step(10, -1.0, 1.0)
    console.end("complete")
    assert ("interrupt the 2 threads" in capsys.readouterr().out) == told
