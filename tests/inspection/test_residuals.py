"""Relative residuals: their size and place where they are known, and their p-values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae.inspection.outliers import find_outliers, rank_among
from pyrovae.inspection.residuals import FLOOR, RelativeResiduals
from tests.support.oracle_subjects import linear_subject, small_subject, split_of
from tests.support.oracles import LinearGaussian
from tests.support.programs import MAKERS
from tests.support.small import small_vae
from tests.support.tables import FALSE_ALARM, Z_LIMIT


def test_residuals_of_an_exact_posterior_have_the_size_of_the_noise() -> None:
    """x - E[x | z] is then a draw of the noise, in every pixel."""
    made = LinearGaussian(True)
    subject = linear_subject(made, 400)
    found = RelativeResiduals(subject, subject.split).maps(split_of(made.images(400)), range(400))
    assert found.shape == (400, 4, 3)
    error = math.sqrt(2) * math.sqrt(2 / 12) / math.sqrt(400)  # Of both means of 12 squares.
    assert np.square(found).mean() == pytest.approx(1 / (1 + FLOOR), abs=Z_LIMIT * error)


def test_reference_images_are_exchangeable_with_new_ones() -> None:
    """Each is compared with the others, so a new image is no more unusual than they are."""
    made = LinearGaussian(True)
    subject = linear_subject(made, 60)
    residuals = RelativeResiduals(subject, subject.split)
    usual = residuals.of_reference()
    new = residuals.largest(split_of(made.images(1000))).residual.to_numpy()
    assert scipy.stats.mannwhitneyu(usual, new).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 1)])
def test_a_bright_pixel_is_found(row: int, column: int) -> None:
    made = LinearGaussian(True)
    subject = linear_subject(made, 100)
    images = made.images(20)
    images[:, :, row, column] += 20 * made.sigma
    residuals = RelativeResiduals(subject, subject.split)
    found = residuals.largest(split_of(images))
    # Squares of 5x5 hold the pixel where they are at most two pixels away.
    assert ((found.row - row).abs() <= 2).all() and ((found.column - column).abs() <= 2).all()
    p_values = rank_among(-found.residual.to_numpy(), -residuals.of_reference())[1]
    assert np.median(p_values) == pytest.approx(1 / 101)


@pytest.mark.parametrize("make", [small_vae, *MAKERS.values()], ids=["vae", *MAKERS])
def test_maps_of_any_programs_are_finite_and_largest_where_the_table_says(make: type) -> None:
    subject = small_subject(make(), 40)
    residuals = RelativeResiduals(subject, subject.train.spread(30))
    some, rows = subject.split.take(range(10)), [7, 0, 3]
    maps, found = residuals.maps(some, rows), residuals.largest(some).loc[rows]
    assert maps.shape == (3, 16, 16) and np.isfinite(maps).all()
    places = np.arange(3), found.row.to_numpy(), found.column.to_numpy()
    assert maps[places] == pytest.approx(found.residual.to_numpy()) == maps.max((1, 2))


def test_pixels_that_never_vary_are_not_unusual() -> None:
    subject = small_subject(small_vae())
    images = torch.zeros(30, 3, 16, 16, dtype=torch.uint8)
    black = split_of(images)
    black = replace(black, attributes=np.zeros((30, len(subject.split.attributes[0])), np.float32))
    found = RelativeResiduals(subject, black).largest(black)
    assert (found.residual < 3).all()


@pytest.mark.slow
def test_images_with_a_local_fault_have_small_p_values() -> None:
    subject = small_subject(small_vae())
    images = np.array(subject.split.images[:6])
    images[:, :, 4:7, 9:12] = 255 - images[:, :, 4:7, 9:12]
    shown = replace(subject.split.take(range(6)), images=images)
    table = find_outliers(replace(subject, shown=shown)).shown
    assert (table.residual >= 1).all() and table.residual_p_value.between(0, 1).all()
    assert {"residual_row", "residual_column"} <= {*table}
