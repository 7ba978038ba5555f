"""Other processes that slow the threads of this one down."""

from __future__ import annotations

import pytest

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
