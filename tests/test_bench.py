"""The bench of planted faults: a quick part always, the whole with `PYROVAE_BENCH=1`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrovae.inspection.causes import CAUSES
from pyrovae.inspection.judge.advice import Advice, Options
from pyrovae.inspection.judge.finding import Finding, Judgement
from tests.bench.case import Case
from tests.bench.faults import FAULTS
from tests.bench.following import complaints
from tests.bench.healthy import HEALTHY
from tests.bench.judging import Move, contradictions, tried
from tests.bench.running import opened

ALL = [*FAULTS, *HEALTHY]
QUICK = [case for case in ALL if case.quick]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("PYROVAE_BENCH_CACHE") or tmp_path_factory.mktemp("bench"))


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_the_right_cause_is_found_first(case: Case, folder: Path) -> None:
    result = tried(case, folder, following=False, sections=())
    assert (result.right, result.wrong) == (True, ()), result.before.judgement


@pytest.mark.slow
@pytest.mark.skipif(
    "PYROVAE_BENCH" not in os.environ, reason="takes half an hour: PYROVAE_BENCH=1"
)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_first_piece_of_advice_helps(case: Case, folder: Path) -> None:
    if not case.available:
        pytest.skip("PYROVAE_TEST_DATA names no folder of real images")
    result = tried(case, folder)
    assert (result.right, result.wrong) == (True, ()), result.before.evidence.table().to_string()
    assert result.helped or not case.right, result.moves


def test_there_are_enough_runs_of_distinct_names() -> None:
    assert len(FAULTS) >= 40 and len(HEALTHY) >= 20
    assert len({case.name for case in ALL}) == len(ALL)
    assert all(case.moves for case in FAULTS) and not any(case.right for case in HEALTHY)


def test_the_readme_says_how_many_causes_have_a_run() -> None:
    planted = {cause for case in FAULTS for cause in case.right}
    page = (Path(__file__).parent.parent / "README.md").read_text()
    assert planted < set(CAUSES)
    assert f"{len(planted)} of {len(CAUSES)} causes and their advice are tested" in page


def found(*causes: str, **further: object) -> Judgement:
    return Judgement(tuple(Finding(name, name, 3.0, "", **further) for name in causes))  # type: ignore[arg-type]


def test_a_contradiction_is_seen() -> None:
    assert contradictions(found("noise_too_small", "noise_too_large"), ())
    assert contradictions(found("undertrained"), ("Train longer.", "Stop earlier."))
    assert not contradictions(found("noise_too_small"), ("Train longer.",))


@pytest.mark.slow
def test_advice_that_the_run_follows_and_advice_that_it_cannot_take_are_seen(
    folder: Path,
) -> None:
    run = next(case for case in QUICK if not case.right).run(folder)
    options = opened(run).options
    assert not complaints(Advice("", {"prior": "FlowPrior"}), options, run)
    assert "in force" in complaints(Advice("", {"prior": "StandardNormal"}), options, run)[0]
    assert "refused" in complaints(Advice("", {"prior.flow": "RealNVP"}), options, run)[0]
    assert "refused" in complaints(Advice("", {"no_such": 1}), options, run)[0]
    assert not complaints(Advice(""), Options(), run)


def test_a_move_has_a_direction() -> None:
    assert Move("rate", 1, 3.0, 4.0).right and not Move("rate", -1, 3.0, 4.0).right
    assert not Move("elbo", 1, 3.0, 3.5).right and not Move("rate", 1, 3.0, float("nan")).right
