"""Directions of the largest visible change, against the formula for a linear decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyrovae.inspection.exploring import Directions, principal_directions
from pyrovae.inspection.exploring.around import DRAWS
from pyrovae.inspection.subject import Subject
from tests.support.oracle_subjects import linear_subject, small_subject
from tests.support.oracles import LinearGaussian
from tests.support.programs import MAKERS
from tests.support.tables import Z_LIMIT


def faint(latent_dim: int = 3) -> LinearGaussian:
    """A linear model whose decoded images are within black and white."""
    linear = LinearGaussian(latent_dim=latent_dim, sigma=0.05)
    linear.weight, linear.bias = 0.04 * linear.weight, torch.full_like(linear.bias, 0.5)
    precision = torch.eye(latent_dim) + linear.weight.T @ linear.weight / linear.sigma**2
    linear.covariance = torch.linalg.inv(precision)
    return linear


def around(subject: Subject, row: int = 0) -> Directions:
    x, inputs = subject.observed(subject.split.take([row]))
    z = torch.from_numpy(subject.encoded.loc[[row]]).to(x)
    return principal_directions(subject, z, x, inputs)


@pytest.mark.slow
def test_directions_of_a_linear_decoder_are_those_of_the_formula() -> None:
    linear = faint()
    subject = linear_subject(linear, 300)
    found, draws = around(subject), subject.encoded.draws
    weight = linear.weight.numpy()
    covariance = np.cov(draws.T)
    # The decoded images that v spans are the principal components of W Sigma W^T.
    values, axes = np.linalg.eigh(weight @ covariance @ weight.T)
    values, axes = values[::-1][:3], axes[:, ::-1][:, :3]
    assert found.shares == pytest.approx(values / values.sum(), rel=1e-6)
    shown = weight @ found.vectors.T
    assert np.abs(axes.T @ shown) == pytest.approx(np.diag(np.sqrt(values)), abs=1e-7)
    # v has variance 1 under the aggregate posterior.
    inner = found.vectors @ np.linalg.inv(covariance) @ found.vectors.T
    assert inner == pytest.approx(np.eye(3), abs=1e-6)
    # Quantiles and the posterior's spread are in coordinates along the directions.
    coordinates = np.linalg.solve(found.vectors.T, (draws - subject.encoded.loc[0]).T).T
    low, high = np.quantile(coordinates, (0.01, 0.99), axis=0)
    assert found.low == pytest.approx(low) and found.high == pytest.approx(high)
    back = np.linalg.inv(found.vectors.T)
    scale = np.sqrt(np.diag(back @ linear.covariance.numpy() @ back.T))
    assert found.scale == pytest.approx(scale, rel=Z_LIMIT / np.sqrt(2 * DRAWS))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_any_programs_have_directions_over_all_their_sites(make: type) -> None:
    subject = small_subject(make())
    found = around(subject)
    count = len(found.vectors)
    assert found.vectors.shape == (count, subject.space.size) and 0 < count <= 12
    assert (np.diff(found.shares) <= 0).all() and found.shares.sum() == pytest.approx(1, abs=1e-6)
    assert (found.low < found.high).all() and (found.scale > 0).all()
    assert not found.vectors[:, subject.encoded.discrete].any()


def test_programs_of_discrete_sites_alone_have_no_directions() -> None:
    subject = small_subject(MAKERS["mixture"]())
    subject.encoded.discrete[:] = True
    found = around(subject)
    assert found.vectors.shape == (0, subject.space.size) and not len(found.shares)


def test_idle_units_are_in_no_direction() -> None:
    subject = small_subject(MAKERS["two latents"]())
    active = np.array([True, False, True, True, False])
    subject.encoded.mean_shift[:] *= 100 * active
    assert np.array_equal(subject.encoded.active, active)
    vectors = around(subject).vectors
    assert len(vectors) == 3 and not vectors[:, ~active].any() and vectors[:, active].all()
