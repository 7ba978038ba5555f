"""Scores against known factors, by closed forms, other implementations and simulation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import mutual_info_score

from pyrovae import InputError, SyntheticFaces
from pyrovae.data.faces import FACTORS
from pyrovae.evaluation import (
    Estimate,
    dci,
    factor_scores,
    mutual_information_gap,
    mutual_information_table,
)
from tests.support.tables import FALSE_ALARM, Z_LIMIT

Arrays = tuple[np.ndarray, np.ndarray]
TENS = np.stack(np.meshgrid(np.arange(10), np.arange(10)), -1).reshape(-1, 2).astype(float)
QUICK: dict[str, Any] = {"num_splits": 2, "num_trees": 5}


def noisy(rng: np.random.Generator, n: int) -> Arrays:
    """Four codes of two continuous factors and a binary one."""
    factors = rng.uniform(-1, 1, (n, 3))
    factors[:, 2] = factors[:, 2] > 0
    mixing = np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0.2, 1, 0]])
    return factors @ mixing + 0.3 * rng.normal(size=(n, 4)), factors


def values(scores: dict[str, Estimate]) -> np.ndarray:
    return np.array([score.value for score in scores.values()])


def equal_width(column: np.ndarray, bins: int) -> np.ndarray:
    edges = np.histogram_bin_edges(column, bins)
    return np.digitize(column, edges[1:-1])


def by_loops(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for i in np.unique(a):
        for j in np.unique(b):
            both = np.mean((a == i) & (b == j))
            if both > 0:
                total += both * math.log(both / (np.mean(a == i) * np.mean(b == j)))
    return total


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_the_table_is_what_loops_and_scikit_learn_count(bins: int) -> None:
    codes, factors = noisy(np.random.default_rng(1), 150)
    table = mutual_information_table(codes, factors, ["a", "b", "c"], bins)
    assert table.shape == (3, 4) and list(table.index) == ["a", "b", "c"]
    for row, factor in zip(table.to_numpy(), factors.T, strict=True):
        target = factor if len(set(factor)) == 2 else equal_width(factor, bins)
        for found, code in zip(row, codes.T, strict=True):
            cell = equal_width(code, bins)
            assert found == pytest.approx(by_loops(cell, target), abs=1e-12)
            assert found == pytest.approx(mutual_info_score(cell, target), abs=1e-12)


def test_the_gap_is_its_definition() -> None:
    codes, factors = noisy(np.random.default_rng(1), 400)
    table = np.sort(mutual_information_table(codes, factors).to_numpy(), 1)
    cells = [equal_width(f, 20) for f in factors[:, :2].T] + [factors[:, 2].astype(int)]
    entropy = [scipy.stats.entropy(np.bincount(cell)) for cell in cells]
    expected = ((table[:, -1] - table[:, -2]) / entropy).mean()
    assert mutual_information_gap(codes, factors).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_its_error_is_that_of_the_jackknife() -> None:
    rng = np.random.default_rng(2)  # few values, so that no bin moves when an image is left out
    factors = rng.integers(0, 3, (400, 2)).astype(float)
    codes = np.where(rng.random((400, 2)) < 0.7, factors, rng.integers(0, 3, (400, 2)))
    left = [
        mutual_information_gap(np.delete(codes, i, 0), np.delete(factors, i, 0)).value
        for i in range(400)
    ]
    jackknife = math.sqrt(399 / 400 * np.square(np.subtract(left, np.mean(left))).sum())
    assert mutual_information_gap(codes, factors).error == pytest.approx(jackknife, rel=0.02)


def test_a_binary_symmetric_channel_has_the_closed_gap() -> None:
    factor = np.repeat([0.0, 1.0], 50)
    code = factor.copy()
    code[[*range(10), *range(50, 60)]] = [1.0] * 10 + [0.0] * 10  # a fifth of each is flipped
    lost = scipy.stats.entropy([0.2, 0.8])
    found = mutual_information_gap(code[:, None], factor[:, None], bins=2)
    assert found.value == pytest.approx(1 - lost / math.log(2))
    # Of an image: log 2 + log p(code given factor), in units of the entropy log 2.
    spread = math.sqrt(0.2 * 0.8) * math.log(0.8 / 0.2) / math.log(2)
    assert found.error == pytest.approx(spread / math.sqrt(99), rel=1e-6)


@pytest.mark.slow
def test_codes_that_are_the_factors_score_one() -> None:
    gap = mutual_information_gap(TENS, TENS)
    assert gap.value == pytest.approx(1, abs=1e-12)
    scores = dci(np.repeat(TENS, 5, 0), np.repeat(TENS, 5, 0))
    assert values(scores) == pytest.approx(np.ones(3), abs=1e-3)
    one = mutual_information_gap(TENS[:, :1], TENS[:, :1])
    assert one.value == pytest.approx(1, abs=1e-12) and one.error == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_disentanglement_weighs_dimensions_by_their_importance() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (300, 2))
    found = dci(bits, bits[:, [0, 1, 1]], **QUICK)
    expected = 1 / 3 + 2 / 3 * (1 - math.log(2) / math.log(3))
    assert found["disentanglement"].value == pytest.approx(expected)
    assert found["completeness"].value == pytest.approx(1)
    shared = dci(bits, bits[:, [0, 0]], **QUICK)
    assert shared["disentanglement"].value == pytest.approx(0, abs=1e-12)
    assert shared["completeness"].value == pytest.approx(1)


@pytest.mark.slow
def test_completeness_is_of_the_variance_that_each_dimension_explains() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (4000, 2))
    found = dci(bits, bits @ [[2], [1]])
    expected = 1 - scipy.stats.entropy([0.8, 0.2], base=2)  # the variances are 1 and 1 / 4
    assert found["completeness"].value == pytest.approx(expected, abs=0.01)
    assert found["disentanglement"].value == found["informativeness"].value == 1


@pytest.mark.slow
def test_rotated_factors_are_informative_but_not_disentangled() -> None:
    rng = np.random.default_rng(0)
    factors = rng.uniform(-1, 1, (1000, 2))
    turned = factors @ np.array([[1, 1], [-1, 1]]) / math.sqrt(2)
    assert mutual_information_gap(turned, factors).value < 0.02
    scores = dci(turned, factors)
    assert scores["informativeness"].value > 0.95
    assert scores["disentanglement"].value < 0.05 and scores["completeness"].value < 0.05


@pytest.mark.parametrize(("dims", "bound"), [(1, 361 / 999), (2, 19 / 1000), (8, 19 / 1000)])
def test_the_gap_of_independent_codes_is_within_the_bias_that_is_stated(
    dims: int, bound: float
) -> None:
    gaps = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        codes, factors = rng.uniform(size=(1000, dims)), rng.uniform(size=(1000, 1))
        gaps.append(mutual_information_gap(codes, factors).value)
    # With one dimension log(1 + chi square / N) bounds it, whose expectation is exact.
    most = (math.log1p(bound) if dims == 1 else bound) / math.log(20)
    found = scipy.stats.ttest_1samp(gaps, most, alternative="greater")
    assert found.pvalue > FALSE_ALARM and np.mean(gaps) > 0


@pytest.mark.slow
def test_independent_codes_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    scores = dci(rng.normal(size=(1000, 5)), rng.uniform(size=(1000, 3)), **QUICK)
    assert scores["informativeness"].value < 0.05
    assert scores["disentanglement"].value < 0.1 and scores["completeness"].value < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda z: z[:, [3, 1, 0, 2]],
        lambda z: z * [4, 0.25, 64, 1024],
        lambda z: 3.7 * z + 11,
        lambda z: np.concatenate([z, np.full((len(z), 2), 0.1)], 1),
    ],
    ids=["permuted", "scaled", "moved", "collapsed"],
)
def test_scores_ignore_the_order_scale_and_place_of_codes(
    change: Callable[[np.ndarray], np.ndarray],
) -> None:
    codes, factors = noisy(np.random.default_rng(4), 400)
    other = change(codes.copy())
    first, second = mutual_information_gap(codes, factors), mutual_information_gap(other, factors)
    assert second.value == pytest.approx(first.value, abs=1e-3)
    before, after = unchanged_scores(), dci(other, factors)
    assert after["disentanglement"].value == pytest.approx(
        before["disentanglement"].value, abs=0.01
    )
    assert after["informativeness"].value == pytest.approx(
        before["informativeness"].value, abs=0.01
    )
    assert after["completeness"].value > before["completeness"].value - 0.01


@functools.cache
def unchanged_scores() -> dict[str, Estimate]:
    return dci(*noisy(np.random.default_rng(4), 400))


@pytest.mark.slow
@pytest.mark.parametrize(("score", "low"), [(0, 0.8), (1, 0.7), (2, 0.7), (3, 0.6)])
def test_errors_are_the_spread_over_data_sets(score: int, low: float) -> None:
    found = simulated()[:, score]
    spread, claimed = found[:, 0].std(ddof=1), math.sqrt(np.square(found[:, 1]).mean())
    # Halves make errors of D and C rather large; errors of I leave out the forests' own noise.
    limits = scipy.stats.chi2.ppf([FALSE_ALARM, 1 - FALSE_ALARM], 23) / 23
    assert low * math.sqrt(limits[0]) < spread / claimed < math.sqrt(limits[1]) / 0.8


_SIMULATED: list[np.ndarray] = []


def simulated() -> np.ndarray:
    """Values and errors of all four scores for 24 data sets, `(24, 4, 2)`."""
    if not _SIMULATED:
        draws = [noisy(np.random.default_rng(seed), 200) for seed in range(24)]
        both = [[mutual_information_gap(*d), *dci(*d, **QUICK).values()] for d in draws]
        _SIMULATED.append(np.array([[(e.value, e.error) for e in found] for found in both]))
    return _SIMULATED[0]


def test_collapsed_codes_score_zero() -> None:
    codes = np.full((100, 3), 0.1)
    gap = mutual_information_gap(codes, TENS)
    assert gap.value == 0 and gap.error == 0
    scores = dci(codes, TENS, **QUICK)
    assert scores["disentanglement"] == scores["completeness"] == Estimate(0.0, 0.0)
    assert scores["informativeness"].value < 0.01


@pytest.mark.slow
def test_one_dimension_and_one_factor_count_as_one_place() -> None:
    codes, factors = noisy(np.random.default_rng(5), 200)
    single = dci(codes[:, :1], factors, **QUICK)
    assert single["completeness"].value == 1 and single["disentanglement"].value < 0.5
    lone = dci(codes, factors[:, :1], **QUICK)
    assert lone["disentanglement"].value == pytest.approx(1) and lone["completeness"].value < 1


def test_informativeness_of_two_values_is_normalised_accuracy() -> None:
    rng = np.random.default_rng(6)
    factor = (rng.random(4000) < 0.3).astype(float)
    flipped = np.where(rng.random(4000) < 0.1, 1 - factor, factor)
    found = dci(flipped[:, None], 5 - 2 * factor[:, None], **QUICK)["informativeness"]
    expected = 1 - (flipped != factor).mean() / min(factor.mean(), 1 - factor.mean())
    assert found.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_informativeness_of_a_linear_code_is_its_explained_variance() -> None:
    rng = np.random.default_rng(7)
    factor = rng.normal(size=(3000, 1))
    found = dci(factor + rng.normal(size=(3000, 1)), factor)["informativeness"]
    assert 0.5 - 0.15 < found.value < 0.5 + Z_LIMIT * found.error


@pytest.mark.slow
def test_a_rare_value_in_one_half_alone_is_no_failure() -> None:
    codes, factors = noisy(np.random.default_rng(8), 60)
    factors[:, 2] = np.arange(60) == 7
    assert np.isfinite(values(dci(codes, factors, **QUICK))).all()


@pytest.mark.slow
def test_scores_follow_the_seed_and_leave_random_states_alone() -> None:
    codes, factors = noisy(np.random.default_rng(9), 100)
    state, kept = np.random.get_state()[1].copy(), (codes.copy(), factors.copy())
    first = dci(codes, factors, **QUICK, seed=3)
    assert first == dci(codes, factors, **QUICK, seed=3)
    assert first != dci(codes, factors, **QUICK, seed=4)
    assert np.array_equal(np.random.get_state()[1], state)
    assert np.array_equal(codes, kept[0]) and np.array_equal(factors, kept[1])
    tensors = torch.from_numpy(codes), torch.from_numpy(factors)
    assert dci(*tensors, **QUICK, seed=3) == first


@pytest.mark.slow
def test_all_scores_are_the_parts_and_their_means() -> None:
    codes, factors = noisy(np.random.default_rng(10), 100)
    with_constant = np.insert(factors, 1, 2.0, axis=1)
    found = factor_scores(codes, with_constant, ["a", "constant", "b", "c"], seed=1, num_splits=1)
    assert found["mutual_information_gap"] == mutual_information_gap(codes, factors)
    alone = dci(codes, factors, seed=1, num_splits=1)
    assert {name: found[name] for name in alone} == alone
    for score in ("mutual_information_gap", "informativeness"):
        parts = [found[f"{score}/{name}"].value for name in "abc"]
        assert found[score].value == pytest.approx(np.mean(parts), rel=1e-12)
    assert not any("constant" in name for name in found)


@pytest.mark.slow
def test_true_factors_of_faces_beat_principal_components() -> None:
    faces = SyntheticFaces(num_train=1, num_val=1, num_test=300, image_size=16).split("test")
    pixels = np.asarray(faces.images, float).reshape(300, -1)
    left, scale, _ = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    how = {"num_splits": 2}
    truth = factor_scores(faces.attributes, faces.attributes, FACTORS, **how)
    found = factor_scores((left * scale)[:, :10], faces.attributes, FACTORS, **how)
    for name in ("mutual_information_gap", "disentanglement", "completeness", "informativeness"):
        gap = truth[name].value - found[name].value
        assert gap > Z_LIMIT * math.hypot(truth[name].error or 0, found[name].error or 0)


GOOD = np.random.default_rng(0).normal(size=(30, 2))
BAD: dict[str, tuple[Callable[..., object], tuple[Any, ...], str]] = {
    "few": (mutual_information_gap, (GOOD[:19], GOOD[:19]), "19 images are too few.* 20"),
    "few-dci": (dci, (GOOD[:19], GOOD[:19]), "19 images are too few.* 20"),
    "few-table": (mutual_information_table, (GOOD[:4], GOOD[:4], None, 5), "4 images .* 5"),
    "none": (dci, (GOOD[:0], GOOD[:0]), "0 images are too few"),
    "other-images": (dci, (GOOD, GOOD[:25]), r"\(30, 2\) and \(25, 2\)"),
    "flat": (mutual_information_gap, (GOOD[:, 0], GOOD), r"\(30,\)"),
    "no-codes": (mutual_information_gap, (GOOD[:, :0], GOOD), "at least one column"),
    "constant": (mutual_information_gap, (GOOD, 0 * GOOD), "none of 2 factors varies"),
    "constant-dci": (dci, (GOOD, 0 * GOOD), "none of 2 factors varies"),
    "nan": (dci, (GOOD, np.where(GOOD > 1, np.nan, GOOD)), "finite"),
    "infinite": (mutual_information_gap, (np.where(GOOD > 1, np.inf, GOOD), GOOD), "finite"),
    "bins": (mutual_information_gap, (GOOD, GOOD, 1), "bins must be at least 2, got 1"),
    "names": (factor_scores, (GOOD, GOOD, ["a"]), "2 factors need as many"),
    "same-names": (factor_scores, (GOOD, GOOD, ["a", "a"]), "different names"),
}


@pytest.mark.parametrize(("call", "args", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_clear_line(
    call: Callable[..., object], args: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        call(*args)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("setting", ["num_splits", "num_trees"])
def test_counts_of_splits_and_trees_are_positive(setting: str) -> None:
    with pytest.raises(InputError, match="at least 1, got"):
        dci(GOOD, GOOD, **{setting: 0})
