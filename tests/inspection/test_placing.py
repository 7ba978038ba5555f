"""On which device sequential work runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from pyrovae.inspection.placing import TIMED, WARM_UP, fastest, on_cpu, placed
from pyrovae.inspection.sections.mcmc import _gradient, section
from pyrovae.inspection.subject import Subject
from tests.support.subjects import SUBJECTS, nothing_changes, subject


class Clock:
    """Seconds that pass only where work says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, *seconds: float) -> Callable[[], None]:
        """Takes these times, one after the other, and then the last one."""
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.mark.parametrize(("other", "chosen"), [(0.1, "b"), (0.85, "a"), (2.0, "a")])
def test_the_first_is_kept_unless_another_is_clearly_faster(other: float, chosen: str) -> None:
    clock = Clock()
    found, seconds = fastest({"a": clock.work(1.0), "b": clock.work(other)}, clock=clock)
    assert found == chosen and seconds == pytest.approx({"a": 1.0, "b": other})


def test_the_first_runs_and_a_slow_one_do_not_count() -> None:
    clock = Clock()
    slow = [9.0] * WARM_UP + [9.0] + [0.1] * (TIMED - 1)
    found, seconds = fastest({"a": clock.work(1.0), "b": clock.work(*slow)}, clock=clock)
    assert found == "b" and seconds["b"] == pytest.approx(0.1)


def test_a_device_that_is_alone_costs_nothing() -> None:
    def fail() -> None:
        raise AssertionError("it was run")

    assert fastest({"a": fail}) == ("a", {})
    whole = subject(SUBJECTS["vae"]())  # Not movable: its device was named.
    assert placed(whole, lambda own: fail) == (whole, "")


def timed(clock: Clock, whole: Subject, own: float, other: float) -> Callable[[Subject], object]:
    """Work that takes one time on a subject and another time on its copy."""
    return lambda some: clock.work(own if some is whole else other)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_copy_goes_to_the_cpu_where_that_is_faster(name: str) -> None:
    clock, whole = Clock(), dataclasses.replace(subject(SUBJECTS[name]()), movable=True)
    with nothing_changes(whole.programs):
        found, said = placed(whole, timed(clock, whole, 1.0, 0.25), clock=clock)  # type: ignore[arg-type]
    assert found.programs is not whole.programs and found.split is whole.split
    assert "ran on the CPU: one gradient takes 250.0 ms there and 1000.0 ms on cpu" in said
    own = found.programs.state_dict()
    for key, value in whole.programs.state_dict().items():
        assert torch.equal(own[key], value) and own[key].data_ptr() != value.data_ptr()
    assert placed(whole, timed(clock, whole, 1.0, 1.0), clock=clock) == (whole, "")  # type: ignore[arg-type]


def test_the_data_are_not_copied() -> None:
    whole = subject(SUBJECTS["vae"]())
    whole.programs.data = object()  # type: ignore[assignment]
    assert on_cpu(whole).programs.data is whole.programs.data


@pytest.mark.usefixtures("short_fits")
@pytest.mark.slow
def test_the_section_says_that_it_was_moved_and_draws_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, clock = subject(SUBJECTS["vae"]()), Clock()
    movable = dataclasses.replace(whole, movable=True)
    monkeypatch.setattr(
        "pyrovae.inspection.sections.mcmc.placed",
        lambda some, work: placed(some, timed(clock, movable, 1.0, 0.1), clock=clock),  # type: ignore[arg-type]
    )
    found, expected = section(movable), section(whole)
    assert len([said for said in found.says if "ran on the CPU" in said]) == 1
    assert not any("ran on the CPU" in said for said in expected.says)
    moments = (own.tables["posterior_moments"] for own in (found, expected))
    assert next(moments).equals(next(moments))


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_gradient_can_be_timed_of_any_programs(name: str) -> None:
    whole = subject(SUBJECTS[name]())
    with nothing_changes(whole.programs):
        found = _gradient(whole)()
    assert isinstance(found, list) and any(found)
