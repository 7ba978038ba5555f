"""Ranks of the truth: uniform for exact guides, and not for others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae import VAE, InputError
from pyrovae.inspection.calibration import DENSITY, Ranks, ranks_of_truth
from pyrovae.inspection.sections.calibration import section
from pyrovae.posterior.space import LatentSpace
from tests.support.oracles import DisguisedNormal, covariance_features
from tests.support.subjects import (
    SUBJECTS,
    Linear,
    nothing_changes,
    subject,
    subject_of,
    subject_of_parts,
)
from tests.support.tables import FALSE_ALARM, LIKELIHOODS, POSTERIORS, make_vae

pytestmark = pytest.mark.slow


def ranks(vae: object, count: int = 2000, **options: int) -> Ranks:
    space = LatentSpace.of(vae, torch.zeros(1, 2, 3, 2, dtype=torch.float64))  # type: ignore[arg-type]
    return ranks_of_truth(space, space.prior_draws(count), **options)


def test_an_exact_guide_has_uniform_ranks() -> None:
    table = ranks(Linear(latent_dim=3).vae()).table()
    assert table["p_joint"].min() > FALSE_ALARM
    assert list(table.index) == ["z[0]", "z[1]", "z[2]", DENSITY]
    assert table["coverage_50"].between(0.45, 0.55).all()
    assert table["coverage_90"].between(0.87, 0.93).all()


@pytest.mark.parametrize("inflation", [0.5, 2.0])
def test_a_guide_of_another_width_has_not(inflation: float) -> None:
    found = ranks(Linear(latent_dim=3).vae(inflation=inflation))
    table = found.table()
    assert (table["p_joint"] < FALSE_ALARM).all()
    sites = table.drop(index=DENSITY)
    assert ((sites["spread"] > 1) == (inflation < 1)).all()
    expected = 2 * scipy.stats.norm.cdf(1.645 * inflation**0.5) - 1
    assert sites["coverage_90"].to_numpy() == pytest.approx(expected, abs=0.04)
    assert (table["bias"][DENSITY] < 0) == (inflation < 1)


def test_a_guide_that_lies_too_low_is_told() -> None:
    linear = Linear(orthogonal=True, latent_dim=2)
    vae = linear.vae()
    with torch.no_grad():  # The mean of the first dimension by half a standard deviation.
        shift = torch.tensor([linear.covariance[0, 0].sqrt() / 2, 0.0]).double()
        encoder = vae.guide.encoder
        encoder.bias.copy_(encoder.bias + torch.linalg.pinv(encoder.weight) @ shift)
    found = ranks(vae)
    table = found.table()
    assert found.tarp().table()["p"].iloc[0] < FALSE_ALARM
    assert table["bias"]["z[0]"] > 0.1 and table["p_joint"]["z[0]"] < FALSE_ALARM
    assert table["p_joint"]["z[1]"] > FALSE_ALARM


def test_the_test_is_the_chi_square_one() -> None:
    drawn = np.random.default_rng(0).integers(0, 100, (300, 2))
    table = Ranks(["a", "b"], drawn, 99).table()
    for column, (_, row) in zip(drawn.T, table.iterrows(), strict=True):
        expected = scipy.stats.chisquare(np.bincount(column // 5, minlength=20))
        assert (row["chi_square"], row["p"]) == pytest.approx(tuple(expected))


def test_uniform_ranks_stay_in_the_band() -> None:
    generator, outside = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = Ranks(list("abc"), generator.integers(0, 100, (200, 3)), 99)
        below = (drawn.ranks[:, :, None] < np.arange(101)).mean(0) - np.arange(101) / 100
        outside += bool(np.abs(below).max() > drawn.band())
    assert outside <= scipy.stats.binom.isf(FALSE_ALARM, 200, 0.05)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_images_of_any_likelihood_are_what_the_guide_takes(likelihood: str) -> None:
    whole = subject_of_parts(likelihood=likelihood)
    table = section(whole).tables["calibration"]
    assert table.notna().all(axis=None) and (table["chi_square"] >= 0).all()


@pytest.mark.parametrize("posterior", sorted(set(POSTERIORS) - {"VonMisesFisher"}))
def test_any_family(posterior: str) -> None:
    space = LatentSpace.of(make_vae(posterior=posterior), torch.zeros(1, 3, 6, 5))
    with torch.no_grad():
        found = ranks_of_truth(space, space.prior_draws(100))
    assert found.names[-1] == DENSITY and found.ranks.max() <= 99


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_section_of_any_programs(name: str) -> None:
    whole = subject(SUBJECTS[name]())
    with nothing_changes(whole.programs):
        found, again = section(whole), section(whole)
    table = found.tables["calibration"]
    assert table.equals(again.tables["calibration"])
    assert list(table.index) == [*whole.space.names, DENSITY]
    assert set(found.figures) == {"ranks", "rank_histogram", "tarp"}
    assert not table.equals(section(dataclasses.replace(whole, seed=1)).tables["calibration"])


def test_only_the_sites_that_are_asked_for_are_shown() -> None:
    whole = subject(SUBJECTS["two latents"]())
    every = section(whole).tables["calibration"]
    found = section(dataclasses.replace(whole, sites=("z2",)))
    table = found.tables["calibration"]
    assert list(table.index) == ["z2[0]", "z2[1]", DENSITY]
    assert table["chi_square"].equals(every["chi_square"][table.index])
    assert any("dimensions of z2 are shown" in said for said in found.says)
    assert len(found.figures["ranks"].figure.axes[0].lines) == 3 + 1  # and that at 0
    with pytest.raises(InputError, match="unknown site 'z3'; allowed are z1, z2"):
        section(dataclasses.replace(whole, sites=("z3",)))


def correlated(sign: float) -> VAE:
    """A linear VAE, with the correlation -0.9 of the exact posterior times a sign in its guide."""
    linear, posterior = Linear(latent_dim=2), DisguisedNormal(2)
    linear.weight = linear.weight[:, :1] + 0.2 * linear.weight
    precision = torch.eye(2) + linear.weight.T @ linear.weight / linear.sigma**2
    linear.covariance = torch.linalg.inv(precision)
    vae, wrong = linear.vae(posterior), linear.covariance.clone()
    wrong[0, 1] = wrong[1, 0] = sign * wrong[0, 1]
    with torch.no_grad():
        vae.guide.encoder.rest.copy_(covariance_features(posterior, wrong))
    return vae


def tarp_p(vae: VAE, **options: int) -> float:
    return float(ranks(vae, **options).tarp().table()["p"].iloc[0])


def test_p_values_of_an_exact_guide_are_uniform() -> None:
    vae = Linear(latent_dim=2).vae()
    found = [tarp_p(vae, count=100) for _ in range(40)]
    assert scipy.stats.kstest(found, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("inflation", [0.5, 2.0])
def test_tarp_shows_a_guide_of_another_width(inflation: float) -> None:
    found = ranks(Linear(latent_dim=3).vae(inflation=inflation)).tarp()
    assert found.table()["p"].iloc[0] < FALSE_ALARM
    curve = found.coverage().set_index("credibility")
    assert ((curve.coverage - curve.index).abs() > curve.band).any()
    assert (curve.coverage.iloc[18] < 0.9) == (inflation < 1)  # At a credibility of 0.9.


@pytest.mark.parametrize("sign", [1.0, 0.0, -1.0])
def test_only_tarp_shows_wrong_correlations(sign: float) -> None:
    found = ranks(correlated(sign))
    assert found.table().drop(index=DENSITY)["p_joint"].min() > FALSE_ALARM
    assert (found.tarp().table()["p"].iloc[0] > FALSE_ALARM) == (sign == 1)


def test_coverage_of_balls_is_the_share_of_ranks_below() -> None:
    found = Ranks([], np.zeros((4, 0), int), 99, np.array([0, 24, 50, 99])).tarp().coverage()
    at = found.set_index(found.credibility.round(2)).coverage
    assert at[[0.0, 0.25, 0.5, 0.55, 1.0]].tolist() == [0, 0.5, 0.5, 0.75, 1]
    assert found.band.iloc[0] == pytest.approx((np.log(2 / 0.05) / 8) ** 0.5)


@pytest.mark.parametrize("inflation", [0.1, 4.0])
def test_the_section_tells_of_wrong_widths(
    inflation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.inspection.sections.calibration.ALPHA", FALSE_ALARM)
    found = section(subject_of(Linear(latent_dim=3).vae(inflation=inflation)))
    assert "quantities (dimensions, and log q) are not uniform" in found.says[0]
    assert (found.symptoms["coverage_90"] < 0.9) == (inflation < 1)
    assert found.symptoms["tarp_p"] < FALSE_ALARM
    assert any("ranks of the distances are not uniform" in said for said in found.says)
    exact = section(subject_of(Linear(latent_dim=3).vae()))
    assert "show no deviation from uniformity" in exact.says[0]
    assert exact.symptoms["tarp_p"] > FALSE_ALARM


def test_latents_on_a_sphere_are_ranked_too() -> None:
    whole = subject_of_parts(prior="HypersphericalUniform", posterior="VonMisesFisher")
    assert len(section(whole).tables["calibration"]) == 4


def test_ties_are_broken_by_chance() -> None:
    vae = Linear(latent_dim=2).vae()
    found = ranks(vae, 100, num_draws=19)
    assert found.num_draws == 19 and found.ranks.max() <= 19


def test_bad_input_is_named_in_one_line() -> None:
    vae = Linear(latent_dim=2).vae()
    with pytest.raises(InputError, match="at least 100 latents, got 99"):
        ranks(vae, 99)
    with pytest.raises(InputError, match="num_draws 50: allowed are numbers one below"):
        ranks(vae, 100, num_draws=50)
