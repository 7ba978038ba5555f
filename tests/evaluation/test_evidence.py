"""Importance sampling against evidence that is known, and its diagnostics against theirs."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pytest
import scipy.stats
import torch

from pyrovae import Engine, FullRankNormal, evaluate
from pyrovae.data import Split
from pyrovae.evaluation import each_batch, log_evidence, log_weights, pareto_k
from tests.support.matrix import same_space
from tests.support.oracles import LinearGaussian, assert_mean
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae
from tests.support.tables import LIKELIHOODS, POSTERIORS, PRIORS, make_images, make_vae

CPU = Engine("cpu", "fp32")


@pytest.mark.slow
def test_weights_of_the_exact_posterior_are_the_evidence() -> None:
    linear = LinearGaussian()
    x = linear.images(5)
    found = log_weights(linear.vae(FullRankNormal(2)), 7, x)
    expected = linear.log_evidence(x).expand(7, 5)
    assert torch.allclose(found, expected, rtol=1e-10)


@pytest.mark.slow
def test_weights_of_a_wrong_posterior_average_to_the_evidence() -> None:
    linear = LinearGaussian()
    x = linear.images(4)
    log_w = log_weights(linear.vae(FullRankNormal(2), inflation=1.7), 20_000, x)
    assert_mean((log_w - linear.log_evidence(x)).exp(), 1.0)


@pytest.mark.parametrize("name", MAKERS)
def test_weights_of_other_programs_are_those_of_each_site(name: str) -> None:
    programs, split = MAKERS[name](), small_data().split("val")
    x = programs.observe(torch.from_numpy(split.images[:3].copy()))
    inputs = {}
    if programs.attributes:
        known = split.table()[list(programs.attributes)].to_numpy()
        inputs["attributes"] = torch.tensor(known[:3])
    torch.manual_seed(1)
    found = log_weights(programs, 4, x, **inputs).detach()
    torch.manual_seed(1)
    with torch.no_grad(), pyro.plate("again", 4, dim=-2):
        guide = pyro.poutine.trace(programs.guide).get_trace(x, **inputs)
    values = {n: s["value"] for n, s in guide.nodes.items() if n.startswith(("y", "z"))}
    for k in range(4):
        own = {n: v[k] for n, v in values.items()}
        given = [pyro.condition(p, data=own) for p in (programs.model, programs.guide)]
        log_p, log_q = (pyro.poutine.trace(p).get_trace(x, **inputs).log_prob_sum() for p in given)
        assert float(found[k].sum()) == pytest.approx(float((log_p - log_q).detach()), rel=1e-5)


CASES = [("Normal", p, "DiagonalNormal") for p in PRIORS]
CASES += [("Normal", "StandardNormal", q) for q in POSTERIORS]
CASES += [(x, "StandardNormal", "DiagonalNormal") for x in LIKELIHOODS]


CASES = [parts for parts in CASES if same_space(*parts[1:])]


@pytest.mark.parametrize("parts", CASES, ids=map("-".join, CASES))
def test_every_part_has_evidence(parts: tuple[str, str, str]) -> None:
    torch.manual_seed(0)
    likelihood, prior, posterior = parts
    vae = make_vae(likelihood, prior, posterior)
    images = make_images(vae.likelihood, 5).numpy()
    found = log_evidence(vae, images, 60, at_once=40)
    assert found.shape == (5, 5) and found.drop(columns="error").notna().all().all()
    assert (found.log_evidence >= found.elbo - 1e-6).all()
    assert found.ess.between(1 - 1e-6, 60 + 1e-6).all()
    # Weights of such tails do not tell how far off their mean is.
    assert ((found.error >= 0) == (found.k_hat <= 0.7)).all()


def test_one_draw_is_the_elbo_of_that_draw() -> None:
    vae, images = small_vae().eval(), small_data().split("test").images
    found = log_evidence(vae, images, 1, seed=3)
    assert (found.log_evidence == found.elbo).all() and (found.error == 0).all()
    assert found.k_hat.isna().all()
    assert found.elbo.mean() == pytest.approx(evaluate(vae, images, CPU).elbo, rel=0.01)


@pytest.mark.slow
def test_evidence_rises_with_the_draws_and_follows_the_seed() -> None:
    vae, images = small_vae().eval(), small_data().split("test").images
    few, many, again = (log_evidence(vae, images, n, seed=1) for n in (5, 200, 200))
    assert many.log_evidence.mean() > few.log_evidence.mean()
    assert many.equals(again)
    assert not many.equals(log_evidence(vae, images, 200, seed=2))


@pytest.mark.slow
def test_chunks_change_the_draws_and_not_what_is_estimated() -> None:
    linear = LinearGaussian()
    vae = linear.vae(FullRankNormal(2), inflation=1.2)
    vae.likelihood.dequantize = lambda images: images  # type: ignore[method-assign]
    images = np.random.default_rng(0).integers(0, 256, (6, 2, 3, 2), np.uint8)
    expected = linear.log_evidence(vae.observe_greys(torch.from_numpy(images).double()))
    for at_once in (1, 50, 10_000):
        found = log_evidence(vae, images, 100, at_once=at_once)
        gap = (found.log_evidence.to_numpy() - expected.numpy()) / found.error.to_numpy()
        assert (np.abs(gap) < 5).all(), gap


@pytest.mark.slow
def test_effective_draws_and_errors_are_their_formulas() -> None:
    linear = LinearGaussian()
    vae = linear.vae(FullRankNormal(2), inflation=2.0)
    images = np.zeros((2, 2, 3, 2), np.uint8)
    found = log_evidence(vae, images, 300, at_once=100)
    log_w = []
    for x in each_batch(vae, images, CPU, lambda x: x, batch_size=20):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            log_w.append(log_weights(vae, 100_000, x).detach().double())
    w = (log_w[0] - log_w[0].max()).exp()
    share = (w.sum(0).square() / w.square().sum(0) / len(w)).numpy()
    assert np.allclose(found.ess / 300, share, rtol=0.25)
    assert np.allclose(found.error, np.sqrt((1 / share - 1) / 300), rtol=0.3)


def test_bad_numbers_are_refused() -> None:
    images = small_data().split("test").images
    for bad in ({"num_samples": 0}, {"at_once": 0}):
        with pytest.raises(ValueError, match="allowed is 1 or more"):
            log_evidence(small_vae(), images, **bad)


@pytest.mark.parametrize("k", [-0.3, 0.2, 0.5, 0.9])
def test_the_tail_of_pareto_weights_has_their_shape(k: float) -> None:
    """The mean of 100 fits; their bias is towards 0.5, by the estimator's own prior."""
    random = np.random.default_rng(7)
    count, tail = 5000, 213
    weights = scipy.stats.genpareto.rvs(k, size=(100, count), random_state=random) + 10
    found = np.array([pareto_k(np.log(own)) for own in weights])
    # The excess above a threshold of a generalised Pareto has the same shape.
    expected = (k * tail + 5) / (tail + 10)
    limit = 4.3 * found.std() / 10 + 0.03
    assert abs(found.mean() - expected) < limit, (found.mean(), expected)


def test_tails_without_a_shape() -> None:
    assert pareto_k(np.zeros(1000)) == -math.inf
    assert pareto_k(np.full(1000, -9e4)) == -math.inf
    # The rounding of sums in float32 is no tail, and a spread of one nat is one.
    steps = np.random.default_rng(0).choice([-1, 0, 1, 2], 1000)
    assert pareto_k(-4e4 * (1 + steps * np.finfo(np.float32).eps)) == -math.inf
    for size in (4e4, 1e6):
        assert pareto_k(-size + np.random.default_rng(0).normal(size=1000)) > -math.inf
    assert math.isnan(pareto_k(np.zeros(20)))
    assert math.isnan(pareto_k(np.array([math.nan] * 100)))
    one = np.zeros(1000)
    one[0] = 800.0
    assert pareto_k(one) > 0.7


@pytest.mark.parametrize("count", [1000, 20_000, 100_000])
def test_the_heavier_the_tail_the_larger_its_shape(count: int) -> None:
    normal = np.random.default_rng(0).normal(size=count)
    found = [pareto_k(scale * normal) for scale in (1.0, 3.0, 10.0, 100.0, 1e3, 1e4)]
    assert found == sorted(found) and found[-1] == math.inf
    assert np.isfinite(found[:3]).all()


def test_a_pass_may_begin_anywhere() -> None:
    vae, images = small_vae(), small_data().split("test")
    whole = list(each_batch(vae, images, CPU, lambda x: x, batch_size=8))
    assert [len(x) for x in whole] == [8, 8, 4]
    part = Split(images.images[:8], images.names[:8], images.attributes[:8])
    (first,) = each_batch(vae, part, CPU, lambda x: x, batch_size=8)
    assert torch.equal(first, whole[0]) and not torch.equal(whole[0], whole[1])
