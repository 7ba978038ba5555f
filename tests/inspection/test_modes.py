"""The search for modes that the guide misses, against posteriors of known modes."""

from __future__ import annotations

import math

import pandas
import pytest
import torch
from torch import Tensor

from pyrovae import VAE, DiagonalNormal, Normal, StandardNormal
from pyrovae.inspection.gaps import gaps
from pyrovae.inspection.sections.gaps import _missed, section
from pyrovae.inspection.subject import Budget
from pyrovae.posterior.space import LatentSpace
from tests.support.oracle_subjects import as_drawn, split_of
from tests.support.oracle_subjects import subject_of as subject_of_images
from tests.support.oracles import LinearDecoder, LinearEncoder, covariance_features
from tests.support.subjects import Linear, subject_of_parts

pytestmark = pytest.mark.slow


class EvenDecoder(LinearDecoder):
    """W |z| + b: each posterior has a mode in every orthant."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z.abs())


def one_of_the_modes(linear: Linear) -> VAE:
    """The guide is exact in the orthant of positive latents, and has no mass elsewhere."""
    posterior = DiagonalNormal(len(linear.covariance))
    to_mean = linear.covariance @ linear.weight.T / linear.sigma**2
    rest = covariance_features(posterior, linear.covariance)
    return VAE(
        encoder=LinearEncoder(to_mean, linear.bias, rest),
        decoder=EvenDecoder(linear.weight, linear.bias, linear.shape),
        prior=StandardNormal(len(linear.covariance)).double(),
        likelihood=Normal(linear.sigma),
        posterior=posterior,
    )


def far_from_zero(linear: Linear, count: int) -> Tensor:
    """Images of latents from 1 to 2, more than five standard deviations away from 0."""
    z = torch.linspace(1, 2, count * len(linear.covariance)).double()
    means = z.reshape(count, -1) @ linear.weight.T + linear.bias
    noise = linear.sigma * torch.randn_like(means)
    return (means + noise).unflatten(-1, linear.shape)


@pytest.mark.parametrize("dim", [1, 2])
def test_modes_that_the_guide_misses_are_found(dim: int) -> None:
    """The exact log p(x) is that of the linear model plus log 2 per latent dimension."""
    linear = Linear(orthogonal=True, latent_dim=dim, sigma=0.2)
    vae, x = one_of_the_modes(linear), far_from_zero(linear, 3)
    with torch.no_grad():
        table = gaps(LatentSpace.of(vae, x), x, steps=5, num_samples=400).table
    exact = linear.log_evidence(x).numpy()
    assert abs(table["log_evidence"] - exact).max() < 0.02 and (table["k_hat"] < 0.7).all()
    assert (table["modes"] > 0).all() and (table["reached"] < 1).all()
    assert (table["missed_error"] < 0.15).all()
    short = table["missed_mode"] - dim * math.log(2)
    assert (abs(short) < 4 * table["missed_error"] + 0.01).all(), table["missed_mode"]


@pytest.mark.parametrize("inflation", [1.0, 0.3])
def test_one_mode_is_no_alarm(inflation: float) -> None:
    linear = Linear(latent_dim=5, sigma=0.5)
    vae, x = linear.vae(inflation=inflation), linear.images(3)
    with torch.no_grad():
        table = gaps(LatentSpace.of(vae, x), x, steps=5, num_samples=200).table
    assert (table["missed_mode"] == 0).all() and (table["missed_error"] == 0).all()
    assert (table["reached"] == 1).all() and (table["modes"] == 0).all()


def test_the_section_says_what_was_found() -> None:
    linear = Linear(orthogonal=True, latent_dim=1, sigma=0.2)
    linear.shape = (1, 4, 3)
    whole = split_of(far_from_zero(linear, 4))
    budget = Budget(4, 2, 100, 2, 20, 0, 300)
    found = section(subject_of_images(as_drawn(one_of_the_modes(linear)), whole, budget))
    assert found.symptoms["missed_mode"] == pytest.approx(math.log(2), abs=0.1)
    assert 0 < found.symptoms["missed_error"] < 0.1
    said = " ".join(found.says)
    assert "cannot show a mode that the guide misses" in said
    assert "for 2 images some ended elsewhere" in said and "0.69" in said
    fine = section(subject_of_images(as_drawn(linear.vae()), whole, budget))
    assert fine.symptoms["missed_mode"] == 0
    assert "none in another mode with as much mass" in " ".join(fine.says)


def test_an_unknown_error_is_called_unknown() -> None:
    columns = {"log_evidence": [2.0, 4.0], "missed_mode": [1.0, 2.0], "modes": [1, 1]}
    table = pandas.DataFrame(columns | {"reached": 0.5, "missed_error": [0.3, 0.4]})
    asked = subject_of_parts()
    assert "1.50 ± 0.25 nats more (both" in _missed(table, asked)
    table["missed_error"] = [0.3, math.nan]
    assert "1.50 nats more, of unknown error since k-hat is high (both" in _missed(table, asked)


@pytest.mark.usefixtures("short_fits")
def test_a_sphere_is_not_searched() -> None:
    whole = subject_of_parts(prior="HypersphericalUniform", posterior="VonMisesFisher")
    found = section(whole)
    assert "missed_mode" not in found.symptoms
    assert any("There was no search for modes" in said for said in found.says)
