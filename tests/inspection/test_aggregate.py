"""Two-sample tests against those of scipy, and against what is known of both samples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae import InputError
from pyrovae.inspection.aggregate import (
    kolmogorov_smirnov,
    marginals,
    mmd_test,
    smallest_difference,
    worst_projections,
)
from tests.support.oracles import LinearGaussian
from tests.support.tables import FALSE_ALARM

RANDOM = np.random.default_rng(0)


def encodings(linear: LinearGaussian, count: int) -> np.ndarray:
    """Draws of the exact posterior of images that the model drew: draws of the prior."""
    with torch.no_grad():
        return linear.vae().encode(linear.images(count)).sample().numpy()


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


@pytest.mark.parametrize("sizes", [(300, 200), (25, 40), (1000, 1000)])
def test_the_distance_is_that_of_scipy(sizes: tuple[int, int]) -> None:
    x, y = normal(sizes[0], 3), normal(sizes[1], 3) * [1, 1.3, 1] + [0, 0, 0.2]
    x[:, 2], y[:, 2] = x[:, 2].round(1), y[:, 2].round(1)  # Equal values.
    distance, p_value = kolmogorov_smirnov(x, y)
    for column in range(3):
        known = scipy.stats.ks_2samp(x[:, column], y[:, column])
        assert distance[column] == pytest.approx(known.statistic, abs=1e-9)
        assert p_value[column] == pytest.approx(known.pvalue, rel=0.15, abs=0.02)


@pytest.mark.parametrize("level", [0.2, 0.01, 1e-6])
def test_the_smallest_difference_has_that_p_value(level: float) -> None:
    """The two-sample statistic of the images whose p-value is the level, to the nearest image."""
    limit = smallest_difference(400, 300, level)
    x, p_value = np.arange(400.0)[:, None], []
    for beyond in (np.floor(400 * limit), np.ceil(400 * limit)):
        y = np.linspace(beyond, 399, 300)[:, None]  # All above the first images.
        distance, p = kolmogorov_smirnov(x, y)
        assert distance[0] == pytest.approx(beyond / 400, abs=2 / 300)
        p_value.append(p[0])
    assert p_value[1] <= level * 1.1 and p_value[0] >= level / 1.1


@pytest.mark.slow
def test_p_values_are_uniform_where_the_aggregate_is_the_prior() -> None:
    linear = LinearGaussian(orthogonal=True, latent_dim=3)
    found: dict[str, list[float]] = {"marginals": [], "mmd": [], "planes": []}
    for seed in range(60):
        # Of two samples of one size the distances, and so p-values, are few and far apart.
        q, p = encodings(linear, 100), normal(97, 3)
        found["marginals"] += marginals(q, p).p_value.tolist()
        found["mmd"].append(mmd_test(q, p, permutations=39, seed=seed).p_value)
        worst = worst_projections(q, p, count=1, permutations=39, seed=seed)
        found["planes"].append(worst.table.p_value[0])
    for name, values in found.items():
        assert scipy.stats.kstest(values, "uniform").pvalue > FALSE_ALARM / 3, name


@pytest.mark.slow
def test_a_shift_and_a_scale_are_found_where_they_are() -> None:
    p = normal(500, 4)
    for change in (normal(500, 4) + [0, 0, 1, 0], normal(500, 4) * [1, 1, 0.4, 1]):
        table = marginals(change, p, ["a", "b", "c", "d"])
        assert (table.adjusted < 1e-4).tolist() == [False, False, True, False]
        assert mmd_test(change, p).p_value < 0.01
        assert table["sd"].to_numpy() == pytest.approx(change.std(0, ddof=1))
        worst = worst_projections(change, p, ["a", "b", "c", "d"])
        row = worst.table.iloc[worst.table["mmd"].argmax()]
        assert row.adjusted < 0.01


@pytest.mark.slow
def test_a_dependence_that_no_dimension_shows_is_found_in_its_plane() -> None:
    q, p = normal(1200, 6), normal(1200, 6)
    q[:, 4] = np.sign(RANDOM.normal(size=1200)) * q[:, 1]
    assert marginals(q, p).adjusted.min() > FALSE_ALARM
    worst = worst_projections(q, p, list("abcdef"))
    assert worst.table.iloc[0][["first", "second"]].tolist() == ["b", "e"]
    assert worst.table.adjusted[0] < 0.01
    assert np.corrcoef(np.abs(worst.aggregate[0]).T)[0, 1] > 0.9
    assert abs(np.corrcoef(np.abs(worst.prior[0]).T)[0, 1]) < 0.3


@pytest.mark.slow
def test_a_direction_that_is_no_dimension_is_found() -> None:
    q, p = normal(1200, 12), normal(1200, 12)
    q -= 0.8 * q.mean(1, keepdims=True)  # Less along the diagonal, a little in each dimension.
    q *= p.std(0) / q.std(0)
    worst = worst_projections(q, p, count=1)
    assert worst.table["first"][0].startswith("direction") and worst.table.p_value[0] < 0.01


def test_the_discrepancy_is_its_formula() -> None:
    x, y = normal(30, 2), normal(25, 2) + 0.5
    found = mmd_test(x, y, permutations=9)
    pooled = np.concatenate([x, y])
    gaps = np.linalg.norm(pooled[:, None] - pooled, axis=-1)
    assert found.bandwidth == pytest.approx(np.median(gaps[np.triu_indices(55, 1)]))
    kernel = np.exp(-np.square(gaps) / (2 * found.bandwidth**2)) - np.eye(55)
    expected = kernel[:30, :30].sum() / (30 * 29) + kernel[30:, 30:].sum() / (25 * 24)
    expected -= 2 * kernel[:30, 30:].mean()
    assert found.value == pytest.approx(expected)
    assert found.p_value * 10 == pytest.approx(round(found.p_value * 10))


def test_every_option_changes_something() -> None:
    x, y = normal(200, 3), normal(200, 3) + 0.1
    tests = [
        mmd_test(x, y),
        mmd_test(x, y, permutations=50),
        mmd_test(x, y, seed=1),
        mmd_test(x, y, limit=100),
        mmd_test(x, y, bandwidth=0.3),
    ]
    assert len({(test.value, test.p_value, test.bandwidth) for test in tests}) == 5
    planes = [
        worst_projections(x, y),
        worst_projections(x, y, ["a", "b", "c"]),
        worst_projections(x, y, count=1),
        worst_projections(x, y, permutations=50),
        worst_projections(x, y, seed=1),
    ]
    assert len({found.table.to_csv() for found in planes}) == 5


def test_one_dimension_has_no_plane() -> None:
    found = worst_projections(normal(100, 1), normal(100, 1))
    assert found.table.empty and not found.aggregate
    assert len(worst_projections(normal(100, 2), normal(100, 2)).table) == 1


def test_bad_input_is_one_line() -> None:
    with pytest.raises(InputError, match="^19 draws of the aggregate posterior are too few"):
        marginals(normal(19, 2), normal(100, 2))
    with pytest.raises(InputError, match="^5 draws of the prior are too few to compare"):
        mmd_test(normal(100, 2), normal(5, 2))
    with pytest.raises(InputError, match="^40 draws of the aggregate posterior are too few"):
        worst_projections(normal(40, 2), normal(100, 2))
    with pytest.raises(InputError, match="^bandwidth 0.0: allowed is above 0"):
        mmd_test(np.zeros((30, 2)), np.zeros((30, 2)))
    with pytest.raises(InputError, match="must be"):
        marginals(normal(50, 2), normal(50, 3))
    with pytest.raises(InputError, match="not finite"):
        marginals(normal(50, 2), np.full((50, 2), np.nan))
