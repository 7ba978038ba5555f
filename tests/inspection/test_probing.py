"""Probes of attributes that the images of a group share."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from sklearn.linear_model import Ridge

from pyrovae.inspection.probing import (
    PENALTIES,
    _folds,
    _grouped_penalties,
    at_chance,
    enough,
    held_out_predictions,
    known_probes,
    probes,
)
from tests.support.tables import Z_LIMIT

GROUPS, EACH = 40, 10


def recognised(seed: int = 0) -> tuple[np.ndarray, pandas.DataFrame, np.ndarray]:
    """Codes that tell who is on an image, and attributes of a person that codes do not hold."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(GROUPS), EACH)
    codes = rng.normal(size=(GROUPS, 60))[groups] + 0.1 * rng.normal(size=(len(groups), 60))
    level, sign = rng.normal(size=GROUPS), rng.permutation([-1.0, 1.0] * (GROUPS // 2))
    return codes, pandas.DataFrame({"level": level[groups], "sign": sign[groups]}), groups


def test_a_person_who_is_recognised_does_not_count() -> None:
    codes, table, groups = recognised()
    leaked = probes(codes, table)["value"]
    assert leaked["level"] > 0.9 and leaked["sign"] > 0.95
    found = probes(codes, table, groups=groups)
    assert found["value"]["level"] < Z_LIMIT * found["error"]["level"]
    assert abs(found["value"]["sign"] - 0.5) < Z_LIMIT * found["error"]["sign"]
    apart = held_out_predictions(codes, table["level"].to_numpy(), groups=groups)
    assert abs(np.corrcoef(apart, table["level"])[0, 1]) < Z_LIMIT / np.sqrt(GROUPS)


def test_groups_of_one_image_change_nothing_but_the_division() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(2000, 2))
    noisy = codes[:, 0] + rng.normal(size=2000)
    table = pandas.DataFrame({"level": noisy, "sign": np.sign(noisy)})
    plain, found = probes(codes, table), probes(codes, table, groups=np.arange(2000))
    assert found.loc["level"].equals(plain.loc["level"])
    assert found["value"]["sign"] == pytest.approx(plain["value"]["sign"], abs=0.01)
    assert found["error"]["sign"] == pytest.approx(plain["error"]["sign"], rel=0.05)


@pytest.mark.slow
def test_errors_with_groups_are_those_of_repetitions() -> None:
    rows = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(GROUPS), EACH)
        codes = rng.normal(size=(GROUPS, 2))[groups] + 0.3 * rng.normal(size=(len(groups), 2))
        noisy = (codes[:, 0] + rng.normal(size=GROUPS)[groups]).round(6)
        table = pandas.DataFrame({"level": noisy, "sign": np.sign(noisy)})
        both = {"own": groups, "none": None}
        found = {name: probes(codes, table, seed=seed, groups=own) for name, own in both.items()}
        rows.append(pandas.concat(found)[["value", "error"]].stack())
    told = pandas.DataFrame(rows)
    for name in ("level", "sign"):
        spread = told["own"][name]["value"].std()
        # The spread of 40 values is known to 11%.
        assert told["own"][name]["error"].mean() == pytest.approx(spread, rel=0.5)
        assert told["none"][name]["error"].mean() < 0.6 * spread


def test_too_few_groups_are_named() -> None:
    codes, table, groups = recognised()
    some = groups < 3
    few = table[some].assign(sign=np.where(groups[some] < 1, -1.0, 1.0))
    _, reasons = enough(few, groups[some])
    assert reasons == {"sign": "1 group of 2 needed of each value"}
    scores, left_out = known_probes(codes[some], few, groups=groups[some])
    assert list(scores.index) == ["level"] and left_out == reasons
    assert enough(few[["level"]], np.zeros(30))[1] == {"level": "1 group of 2 needed"}


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.5, 0.95])
@pytest.mark.parametrize("groups", [None, 8, 12, 20])
def test_attributes_by_chance_are_seldom_called_predicted(
    groups: int | None, alike: float
) -> None:
    """At a level of 2.5%: 12 of 120 by chance have a probability of 4e-5."""
    rng, found = np.random.default_rng(7), {"sign": 0, "level": 0}
    own = None if groups is None else np.arange(80) % groups
    for seed in range(120):
        places = np.arange(80) if own is None else own
        size = places.max() + 1
        codes = np.sqrt(alike) * rng.normal(size=(size, 3))[places]
        codes += np.sqrt(1 - alike) * rng.normal(size=(80, 3))
        sign = (rng.permutation(size) < size / 2).astype(float)
        table = pandas.DataFrame({"sign": sign[places], "level": rng.normal(size=size)[places]})
        for name in set(table) - set(at_chance(probes(codes, table, seed=seed, groups=own)).index):
            found[name] += 1
    assert max(found.values()) < 12


def test_attributes_that_codes_show_are_called_predicted() -> None:
    codes, table, groups = recognised()
    shown = pandas.DataFrame({"sign": codes[:, 0] > 0, "level": codes[:, 1]}).astype(float)
    assert not len(at_chance(probes(codes, shown, groups=groups)))
    few = groups < 5  # So few groups may differ in any order by chance.
    assert len(at_chance(probes(codes[few], shown[few][["level"]], groups=groups[few]))) == 1


def test_the_penalty_is_that_for_new_groups() -> None:
    """With the penalty for other images of the same groups the score is below -0.3."""
    rng, found = np.random.default_rng(0), []
    groups = np.arange(30).repeat(20)
    for seed in range(10):
        codes = np.sqrt(0.6) * rng.normal(size=(30, 32))[groups]
        codes += np.sqrt(0.4) * rng.normal(size=(600, 32))
        table = pandas.DataFrame({"level": rng.normal(size=30)[groups]})
        found.append(probes(codes, table, seed=seed, groups=groups)["value"].iloc[0])
    assert -0.2 < np.mean(found) < 0.02


def test_grouped_penalties_have_the_smallest_error_of_left_out_groups() -> None:
    rng = np.random.default_rng(1)
    groups = np.arange(20).repeat(4)
    codes = rng.normal(size=(80, 5)) + rng.normal(size=(20, 5))[groups]
    values = codes @ rng.normal(size=(5, 2)) + 3 * rng.normal(size=(80, 2))
    found = _grouped_penalties(codes, values, groups)
    for column, penalty in zip(values.T, found, strict=True):
        errors = [
            sum(
                np.square(Ridge(own).fit(codes[a], column[a]).predict(codes[b]) - column[b]).sum()
                for a, b in _folds(80, 5, 0, groups)
            )
            for own in PENALTIES
        ]
        assert penalty == PENALTIES[int(np.argmin(errors))]
