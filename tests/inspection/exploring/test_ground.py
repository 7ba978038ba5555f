"""Maps and their way back, against least squares and against the maps of the report."""

from __future__ import annotations

import numpy as np
import pytest

from pyrovae import InputError
from pyrovae.inspection.exploring import NeighbourGround, principal_ground
from pyrovae.inspection.exploring.ground import between_neighbours
from pyrovae.inspection.maps import neighbour_map, principal_map


def codes(count: int = 200, dims: int = 5) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.normal(size=(count, dims)) @ random.normal(size=(dims, dims)) + 3.0


def test_a_place_on_the_plane_of_components_is_lifted_by_least_squares() -> None:
    own = codes()
    ground = principal_ground(own, np.ones_like(own))
    assert ground.places == pytest.approx(principal_map(own)[0])
    with_one = np.concatenate([np.ones((len(own), 1)), ground.places], 1)
    weights = np.linalg.lstsq(with_one, own, rcond=None)[0]
    new = np.array([[0.3, -2.0], [4.0, 1.0]])
    assert ground.lift(new) == pytest.approx(np.array([[1, 0.3, -2.0], [1, 4.0, 1.0]]) @ weights)
    assert ground.place(own, np.ones_like(own)) == pytest.approx(ground.places)
    assert ground.place(ground.lift(new), new) == pytest.approx(new)
    assert "two principal components" in ground.says and "trustworthiness" in ground.says


def test_in_two_dimensions_the_way_back_is_exact() -> None:
    own = codes(dims=2)
    ground = principal_ground(own, np.ones_like(own))
    assert ground.lift(ground.places) == pytest.approx(own)


def test_equal_second_components_leave_a_line() -> None:
    own = np.stack([np.arange(5.0), np.ones(5)], 1)
    ground = principal_ground(own, np.ones_like(own))
    assert ground.lift(ground.places) == pytest.approx(own)
    low, high = ground.corners
    assert (high > low).all()


def test_equal_means_are_one_place() -> None:
    own = np.full((5, 3), 2.0)
    ground = principal_ground(own, own)
    assert not ground.places.any() and ground.says == "All posterior means are equal."
    assert ground.lift(np.array([[1.0, -1.0]])).tolist() == [[2.0, 2.0, 2.0]]
    assert not ground.place(own, own).any()


def test_one_latent_is_drawn_with_its_standard_deviation() -> None:
    own, scale = codes(dims=1), np.linspace(0.1, 1, 200)[:, None]
    ground = principal_ground(own, scale)
    assert np.array_equal(ground.places, np.concatenate([own, scale], 1))
    assert ground.lift(np.array([[0.5, 9.0]])).tolist() == [[0.5]]
    assert ground.place(own[:1], scale[:1]).tolist() == [[own[0, 0], 0.1]]


def test_cells_run_by_rows_from_the_bottom_within_the_corners() -> None:
    own = codes()
    ground = principal_ground(own, own)
    cells, (low, high) = ground.cells(3), ground.corners
    assert cells[0] == pytest.approx(low + (high - low) / 6)
    assert cells[1] - cells[0] == pytest.approx([(high - low)[0] / 3, 0])
    assert cells[3] - cells[0] == pytest.approx([0, (high - low)[1] / 3])
    assert cells[-1] == pytest.approx(high - (high - low) / 6)
    assert (ground.places > low).all() and (ground.places < high).all()


def test_between_neighbours_is_the_weighted_average_of_the_formula() -> None:
    random = np.random.default_rng(0)
    known, values, new = random.normal(size=(30, 2)), random.normal(size=(30, 4)), [[0.1, -0.2]]
    apart = np.linalg.norm(known - new, axis=1)
    near = np.argsort(apart)[:8]
    weights = apart[near] ** -2.0
    expected = (weights[:, None] * values[near]).sum(0) / weights.sum()
    assert between_neighbours(np.array(new), known, values)[0] == pytest.approx(expected)
    assert between_neighbours(known, known, values) == pytest.approx(values, abs=1e-6)
    few = between_neighbours(np.array(new), known[:2], values[:2])
    assert few.shape == (1, 4) and np.isfinite(few).all()


@pytest.mark.slow
def test_a_map_of_neighbours_is_that_of_the_report_and_places_what_it_was_not_fitted_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyrovae.inspection.exploring.ground.FITTED", 120)
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 6)) * 20
    own = centres[np.arange(160) % 4] + random.normal(size=(160, 6))
    ground, method = NeighbourGround.of(own, seed=3)
    rows = np.linspace(0, 159, 120).astype(int)
    expected, name = neighbour_map(own[rows], seed=3)
    assert method == name and np.array_equal(ground.places[rows], expected)
    assert "120 images determine the map" in ground.says
    # Every place is lifted into its own cluster, and back.
    apart = np.linalg.norm(ground.lift(ground.places)[:, None] - centres, axis=-1)
    assert np.array_equal(apart.argmin(1), np.arange(160) % 4)
    assert ground.place(own[:3], own[:3]) == pytest.approx(ground.places[:3], abs=1e-3)


def test_too_few_images_make_no_map() -> None:
    with pytest.raises(InputError, match="at least 3 images"):
        principal_ground(codes(2), codes(2))
    with pytest.raises(InputError, match="at least 10 images, got 9"):
        NeighbourGround.of(codes(9))
