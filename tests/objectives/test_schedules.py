from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest

from pyrovae.objectives import (
    Beta,
    Constant,
    Cosine,
    Cyclical,
    ExponentialDecay,
    Progress,
    Schedule,
    Warmup,
)
from tests.support.tables import SCHEDULES

every_schedule = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES.keys())
every_rise = pytest.mark.parametrize("kind", [Warmup, partial(Warmup, smooth=True)])
MakeSchedule = Callable[[], Schedule]


def at(step: int, total: int = 100, per_epoch: int = 10) -> Progress:
    return Progress(step, total, per_epoch)


@every_schedule
def test_a_schedule_stays_within_0_and_1(make: MakeSchedule) -> None:
    for total in (1, 2, 3, 7, 100):
        factors = [make()(at(step, total)) for step in range(total + 1)]
        assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("name", ["Constant", "Cosine", "ExponentialDecay"])
def test_schedules_that_only_fall(name: str) -> None:
    factors = [SCHEDULES[name]()(at(step)) for step in range(101)]
    assert factors[0] == 1 and factors == sorted(factors, reverse=True)


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        (Constant(), 0, 1.0),
        (Constant(), 100, 1.0),
        (ExponentialDecay(0.5), 9, 1.0),
        (ExponentialDecay(0.5), 10, 0.5),
        (ExponentialDecay(0.5), 99, 0.5**9),
        (ExponentialDecay(1.0), 99, 1.0),
        (Cosine(0.2), 0, 1.0),
        (Cosine(0.2), 25, 0.2 + 0.4 * (1 + math.sqrt(0.5))),
        (Cosine(0.2), 50, 0.6),
        (Cosine(0.2), 100, 0.2),
        (Cosine(0.0), 100, 0.0),
        (Cosine(1.0), 70, 1.0),
        (Warmup(0.2), 0, 0.05),
        (Warmup(0.2), 9, 0.5),
        (Warmup(0.2), 19, 1.0),
        (Warmup(0.2), 20, 1.0),
        (Warmup(0.2), 100, 1.0),
        (Warmup(0.001), 0, 1.0),
        (Warmup(0.2, Cosine(0.0)), 20, 1.0),
        (Warmup(0.2, Cosine(0.0)), 60, 0.5),
        (Warmup(0.2, Cosine(0.0)), 100, 0.0),
        (Warmup(0.2, ExponentialDecay(0.5)), 30, 0.5),
        (Warmup(0.2, smooth=True), 0, (1 - math.cos(math.pi / 20)) / 2),
        (Warmup(0.2, smooth=True), 4, (1 - math.sqrt(0.5)) / 2),
        (Warmup(0.2, smooth=True), 9, 0.5),
        (Warmup(0.2, smooth=True), 14, (1 + math.sqrt(0.5)) / 2),
        (Warmup(0.2, smooth=True), 19, 1.0),
        (Warmup(0.2, smooth=True), 100, 1.0),
        (Warmup(0.001, smooth=True), 0, 1.0),
        (Warmup(0.2, Cosine(0.0), smooth=True), 60, 0.5),
        (Warmup(0.2, ExponentialDecay(0.5), smooth=True), 30, 0.5),
        (Cyclical(), 0, 0.08),
        (Cyclical(), 11, 0.96),
        (Cyclical(), 12, 1.0),
        (Cyclical(), 24, 1.0),
        (Cyclical(), 25, 0.08),
        (Cyclical(), 49, 1.0),
        (Cyclical(), 99, 1.0),
        (Cyclical(1, 1.0), 49, 0.5),
        (Cyclical(1, 1.0), 99, 1.0),
        (Cyclical(2, 0.2), 50, 0.1),
        (Cyclical(2, 0.2), 59, 1.0),
        (Cyclical(100), 37, 1.0),
    ],
)
def test_exact_factors(schedule: Schedule, step: int, factor: float) -> None:
    assert schedule(at(step)) == pytest.approx(factor, abs=1e-12)


def test_warmup_rises_evenly_and_is_never_0() -> None:
    factors = [Warmup(0.5)(at(step)) for step in range(100)]
    assert factors[:50] == pytest.approx([(step + 1) / 50 for step in range(50)])
    assert factors[50:] == [1.0] * 50


@every_rise
def test_rises_only_rise_and_pass_the_middle_at_one_half(kind: type[Schedule]) -> None:
    factors = [kind(0.5)(at(step)) for step in range(100)]  # type: ignore[call-arg]
    assert factors[:50] == sorted(set(factors[:50])) and factors[0] > 0
    assert factors[24] == pytest.approx(0.5)
    assert factors[:49] == pytest.approx([1 - f for f in factors[48::-1]])
    assert factors[49:] == [1.0] * 51


@pytest.mark.parametrize(("num_cycles", "total"), [(4, 100), (3, 100), (7, 50), (5, 4)])
def test_cycles_are_alike_and_as_many_as_asked(num_cycles: int, total: int) -> None:
    """Also where the run does not divide evenly; a run too short has a cycle a step."""
    factors = [Cyclical(num_cycles, 0.5)(at(step, total)) for step in range(total)]
    falls = sum(after < before for before, after in zip(factors, factors[1:], strict=False))
    assert falls == (num_cycles - 1 if total > num_cycles else 0)
    assert max(factors) == 1.0 and min(factors) > 0
    share = sum(factor == 1 for factor in factors) / total
    assert share == pytest.approx(0.5, abs=num_cycles / total + 0.01) or total <= num_cycles


@pytest.mark.parametrize("total", [0, 1])
@every_schedule
def test_the_shortest_runs(make: MakeSchedule, total: int) -> None:
    assert make()(at(0, total, per_epoch=1)) == 1.0
    assert at(0, total).fraction == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ExponentialDecay, 0.0),
        (ExponentialDecay, 1.5),
        (ExponentialDecay, math.nan),
        (Cosine, -0.1),
        (Cosine, 1.1),
        (Cosine, math.nan),
        (Warmup, 0.0),
        (Warmup, 1.1),
        (Warmup, math.nan),
        (Cyclical, 0),
        (Cyclical, -3),
        (lambda rise: Cyclical(4, rise), 0.0),
        (lambda rise: Cyclical(4, rise), 1.1),
        (lambda rise: Cyclical(4, rise), math.nan),
        (Beta, -1.0),
        (Beta, math.inf),
        (Beta, math.nan),
    ],
)
def test_wrong_arguments_are_refused(kind: Callable[[float], object], value: float) -> None:
    with pytest.raises(ValueError, match=f"must .*, got {value}$"):
        kind(value)


def test_beta_is_its_value_times_its_schedule() -> None:
    assert Beta()(at(7)) == 1.0
    assert Beta(4.0)(at(7)) == 4.0
    assert Beta(4.0, Warmup(0.2))(at(9)) == pytest.approx(2.0)
    assert Beta(4.0, Warmup(0.2, smooth=True))(at(9)) == pytest.approx(2.0)
    assert Beta(4.0, Cyclical(2, 0.2))(at(54)) == pytest.approx(2.0)
    assert Beta(0.0, Warmup(0.2))(at(9)) == 0.0


def test_a_warmup_may_take_the_whole_run() -> None:
    assert [Warmup(1.0)(at(step)) for step in (0, 49, 99, 100)] == [0.01, 0.5, 1.0, 1.0]


def test_a_smooth_warmup_rises_slower_at_first() -> None:
    assert Warmup(0.3, smooth=True)(at(6)) < Warmup(0.3)(at(6))
