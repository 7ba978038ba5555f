from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import Tensor

from pyrovae.objectives import IWAE, DReG, ScaleLatents, StickingTheLanding
from pyrovae.posteriors import FullRankNormal, LowRankNormal, Posterior
from tests.support.objectives import assert_equal, assert_is, double_images, double_vae, draw
from tests.support.oracles import LinearGaussian

EXACT: dict[str, Callable[[], pyro.infer.ELBO]] = {
    "Trace_ELBO": Trace_ELBO,
    "RenyiELBO-0": lambda: RenyiELBO(alpha=0, num_particles=4),
    "RenyiELBO-0.5": lambda: RenyiELBO(alpha=0.5, num_particles=4),
    "IWAE": lambda: IWAE(4),
    "IWAE-sequential": lambda: IWAE(4, vectorize_particles=False),
    "DReG": lambda: DReG(4),
    "StickingTheLanding": StickingTheLanding,
}
FAMILIES: dict[str, Callable[[], Posterior]] = {
    "FullRankNormal": lambda: FullRankNormal(3),
    "LowRankNormal": lambda: LowRankNormal(3, rank=3),
}
both_ways = pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])


@pytest.mark.slow
@pytest.mark.parametrize("objective", EXACT)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_bounds_are_the_evidence_at_the_exact_posterior(family: str, objective: str) -> None:
    linear = LinearGaussian(latent_dim=3)
    vae, x = linear.vae(FAMILIES[family]()), linear.images(5)
    expected = -linear.log_evidence(x).sum().item()
    found = EXACT[objective]().loss(vae.model, vae.guide, x)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@torch.no_grad()
def test_bounds_are_ordered_and_tighter_with_more_particles() -> None:
    """From the loosest to the evidence, each step by five standard errors and more."""
    linear = LinearGaussian()
    vae, x = linear.vae(FullRankNormal(2), inflation=2.0), linear.images(1)
    many = x.expand(1000, *x.shape[1:])
    bounds = [Trace_ELBO(), IWAE(2), DReG(4), RenyiELBO(0, 8), IWAE(20)]
    found = [
        [-elbo.loss(vae.model, vae.guide, many) / len(many) for elbo in bounds] for _ in range(20)
    ]
    steps = torch.tensor([[*row, linear.log_evidence(x).item()] for row in found]).diff(dim=1)
    assert (steps.mean(0) > 5 * steps.std(0) / math.sqrt(len(steps))).all()


@both_ways
def test_iwae_is_the_formula_and_pyros_renyi_bound(vectorize: bool) -> None:
    vae, x = double_vae(), double_images()
    if vectorize:
        assert_is(IWAE(3), vae, x, lambda: iwae_formula(draw(vae, x, 3).log_weights))
    found = []
    for kind in (IWAE, RenyiELBO):
        torch.manual_seed(3)
        elbo = kind(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=1)
        loss = elbo.loss_and_grads(vae.model, vae.guide, x)
        found.append((loss, [p.grad.clone() for p in vae.parameters()]))
        vae.zero_grad()
    (loss, grads), (expected, expected_grads) = found
    assert loss == pytest.approx(expected, rel=1e-12)
    assert_equal(grads, expected_grads)


def iwae_formula(log_weights: Tensor) -> Tensor:
    return -log_weights.exp().mean(0).log().sum()


def test_one_particle_is_the_elbo() -> None:
    vae, x = double_vae(), double_images()
    for kind in (IWAE, DReG, StickingTheLanding):
        torch.manual_seed(3)
        found = kind(num_particles=1).loss(vae.model, vae.guide, x)
        torch.manual_seed(3)
        assert found == pytest.approx(Trace_ELBO().loss(vae.model, vae.guide, x), rel=1e-12)


def deep_model(x: Tensor) -> None:
    """Two latent sites, one of them in a plate of parts, and an image of two observed sites."""
    scale = pyro.param("scale", torch.tensor(0.7, dtype=torch.float64))
    with pyro.plate("images", len(x), dim=-1):
        top = pyro.sample("top", dist.Normal(x.new_zeros(()), 1.0))
        with pyro.plate("parts", 2, dim=-2):
            low = pyro.sample("low", dist.Normal(scale * top, 1.0))
        pyro.sample("x", dist.Normal(low.sum(-2, keepdim=True), scale), obs=x[:, 0])
        pyro.sample("y", dist.Normal(top, scale), obs=x[:, 1])


def deep_guide(x: Tensor) -> None:
    slope = pyro.param("slope", torch.tensor(0.4, dtype=torch.float64))
    with pyro.plate("images", len(x), dim=-1):
        top = pyro.sample("top", dist.Normal(slope * x.sum(-1), 0.8))
        with pyro.plate("parts", 2, dim=-2):
            pyro.sample("low", dist.Normal(slope * top + x.T, 0.9))


@both_ways
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_iwae_of_several_sites_and_plates_is_pyros_renyi_bound(
    vectorize: bool, beta: float
) -> None:
    x = torch.randn(5, 2, dtype=torch.float64)
    found = []
    for kind in (IWAE, RenyiELBO):
        with pyro.get_param_store().scope():
            torch.manual_seed(3)
            elbo: Any = kind(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=2)
            with ScaleLatents(beta):
                loss = elbo.loss_and_grads(deep_model, deep_guide, x)
            grads = [pyro.param(name).grad for name in ("scale", "slope")]
        found.append(torch.tensor([loss, *grads]))
    assert torch.allclose(*found, rtol=1e-10)


@both_ways
@torch.no_grad()
def test_rate_and_distortion_of_several_sites_and_plates(vectorize: bool) -> None:
    """Their means add up to the loss of the ELBO, which has one particle's noise."""
    x = torch.randn(5, 2, dtype=torch.float64)
    elbo = IWAE(1, vectorize_particles=vectorize, max_plate_nesting=2)
    loss = elbo.loss(deep_model, deep_guide, x)
    assert elbo.rate_and_distortion is not None
    rate, distortion = elbo.rate_and_distortion
    assert (rate + distortion).item() * len(x) == pytest.approx(loss, rel=1e-10)
    with ScaleLatents(0.0):
        loss = elbo.loss(deep_model, deep_guide, x)
    assert elbo.rate_and_distortion is not None
    assert elbo.rate_and_distortion[1].item() * len(x) == pytest.approx(loss, rel=1e-10)
    assert elbo.rate_and_distortion[0] != 0 and math.isfinite(elbo.rate_and_distortion[0])
