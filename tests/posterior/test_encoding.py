"""What the guide says of each image, dimension by dimension."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from pyrovae import Engine, FullRankNormal
from pyrovae.distributions.moments import moments
from pyrovae.evaluation import image_terms
from pyrovae.evaluation.scoring import Options, Scorer
from pyrovae.inspection.measures.latents import of_encoding
from pyrovae.inspection.subject import QUICK, Subject
from pyrovae.posterior.encoding import dimension_divergences, encode
from tests.support.oracles import DisguisedNormal
from tests.support.programs import MAKERS, mixture, numbered, two_latents
from tests.support.small import small_data, small_vae
from tests.support.tables import IMAGE_SHAPE, PAIRS, Z_LIMIT, make_vae

CPU = Engine("cpu", "fp32")


def test_it_agrees_with_evaluation() -> None:
    vae, split = small_vae(), small_data().split("test")
    found, terms = encode(vae, split, CPU), image_terms(vae, split, CPU)
    assert np.allclose(found.rate, terms["rate"]) and np.allclose(found.kl.sum(1), found.rate)
    assert np.allclose(found.distortion, terms["distortion"]) and found.exact.all()
    with torch.no_grad():
        q = vae.eval().encode(torch.tensor(split.images))
    assert np.allclose(found.loc, q.mean.numpy(), atol=1e-3)  # which sees no noise
    assert np.allclose(found.scale, q.variance.sqrt().numpy(), atol=1e-3)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_sites_lie_side_by_side(make: type) -> None:
    split = small_data().split("test")
    found = encode(make(), split, CPU)
    table = found.table(list(split.names))
    assert table.shape == (20 * len(found.names), 3)
    # The prior of a mixture is a transformed distribution, and `Categorical` has no moments: those
    # of draws are used. The guide of the two latents draws the lower one first.
    assert found.exact.all() == (make not in (mixture, numbered, two_latents))
    assert table.loc[split.names[3], found.names[1]]["kl"] == found.kl[3, 1]
    some = found.only(np.array([2, 0]))
    assert (
        some.names == [found.names[2], found.names[0]] and (some.loc == found.loc[:, [2, 0]]).all()
    )


@pytest.mark.parametrize(("prior", "posterior"), PAIRS)
def test_every_family_has_moments_and_divergences(prior: str, posterior: str) -> None:
    vae = make_vae(prior=prior, posterior=posterior)
    images = np.random.default_rng(0).integers(0, 256, (12, *IMAGE_SHAPE)).astype(np.uint8)
    found = encode(vae, images, CPU)
    for values in (found.loc, found.scale, found.kl, found.rate):
        assert np.isfinite(values).all()
    assert (found.kl > -1e-4).all() and (found.scale > 0).all()


def test_divergences_of_dependent_dimensions_are_those_of_their_marginals() -> None:
    root = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    q = dist.MultivariateNormal(torch.tensor([1.0, -1.0]), scale_tril=root)
    p = dist.Normal(torch.zeros(2), 2.0).to_event(1)
    found, exact = dimension_divergences(q, p)
    expected = kl_divergence(dist.Normal(q.loc, 1.0), p.base_dist)
    assert exact and torch.allclose(found, expected)
    assert kl_divergence(q, p) > found.sum()  # by what the dimensions tell of each other


def test_moments_without_a_formula_are_those_of_draws() -> None:
    torch.manual_seed(0)
    h = torch.randn(FullRankNormal(2).num_params)
    exact, disguised = FullRankNormal(2)(h), DisguisedNormal(2)(h)
    loc, scale = moments(disguised)
    error = exact.variance.sqrt() / 200**0.5
    assert ((loc - exact.mean).abs() < Z_LIMIT * error).all()
    assert ((scale - exact.variance.sqrt()).abs() < Z_LIMIT * error).all()


def test_divergences_where_there_are_no_moments_are_means_over_draws() -> None:
    """Of a Normal from a Cauchy, against numerical integration."""
    torch.manual_seed(0)
    q = dist.Normal(torch.tensor([[0.0, 2.0]]).expand(500, 2), 0.5).to_event(1)
    p = dist.Cauchy(torch.zeros(2), 1.0).to_event(1)
    found, exact = dimension_divergences(q, p)
    grid = torch.linspace(-2, 6, 4001, dtype=torch.double)
    for dim, loc in enumerate((0.0, 2.0)):
        log_q = dist.Normal(loc, 0.5).log_prob(grid)
        gap = log_q - dist.Cauchy(0.0, 1.0).log_prob(grid)
        expected = torch.trapezoid(log_q.exp() * gap, grid).item()
        error = found[:, dim].std().item() / 500**0.5
        assert found[:, dim].mean().item() == pytest.approx(expected, abs=Z_LIMIT * error + 1e-3)
    assert not exact
    joint = dist.MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert dimension_divergences(joint, p)[0].isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_vae, *MAKERS.values()], ids=["vae", *MAKERS])
def test_evaluation_and_inspection_look_at_one_encoding(make: type) -> None:
    programs, data = make(), small_data()
    split = data.split("test")
    scorer = Scorer(programs.eval(), data, Options(seed=3), CPU)
    subject = Subject(programs, split, CPU, 3, shown=split.take([0]), budget=QUICK)
    found, again = scorer.view.encoded, subject.encoded
    for name in ("loc", "scale", "mean_shift", "draws", "log_q", "log_p", "rate"):
        assert np.array_equal(getattr(found, name), getattr(again, name)), name
    assert scorer.section("latents")["active_units"].value == int(
        subject.encoded.continuous().active.sum()
    )
    latents = np.concatenate([z.reshape(len(z), -1).numpy() for z in subject.draws.values()], 1)
    assert np.array_equal(latents, again.draws)


def test_the_scale_of_the_prior_is_that_of_its_formula() -> None:
    images = small_data().split("test").images
    assert (encode(small_vae(), images, CPU).prior_scale == 1).all()
    sphere = make_vae(prior="HypersphericalUniform", posterior="VonMisesFisher")
    images = np.zeros((4, *IMAGE_SHAPE), np.uint8)
    found = encode(sphere, images, CPU).prior_scale
    assert np.allclose(found, len(found) ** -0.5)


def test_units_of_a_layer_that_follows_its_prior_are_not_active() -> None:
    """Their means vary with the layer above, and their posterior is the prior."""
    found = encode(two_latents(), small_data().split("test"), CPU)
    apart = np.linspace(-2, 2, len(found))[:, None]
    varied = replace(found, mean_shift=apart + 0 * found.loc, kl=0.001 + 0 * found.kl)
    assert not varied.active.any() and replace(varied, site_rates={}).active.all()
    some = np.arange(5) < 2
    carrying = replace(varied, kl=np.where(some, 0.1, varied.kl))
    assert carrying.active.tolist() == some.tolist()
    assert of_encoding(carrying)["active"] == 2


def test_silent_dimensions_are_those_of_sites_without_a_rate() -> None:
    found = encode(two_latents(), small_data().split("test"), CPU)
    rates = {"z1": np.full(len(found), 0.01), "z2": np.full(len(found), 3.0)}
    assert of_encoding(replace(found, site_rates=rates))["silent"] == 3
    assert math.isnan(of_encoding(replace(found, site_rates={}))["silent"])
