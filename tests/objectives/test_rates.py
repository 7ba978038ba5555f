"""FreeBits, Capacity and BetaTC: what stands in the place of the rate."""

from __future__ import annotations

import math

import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae.objectives import (
    BetaTC,
    Capacity,
    Constant,
    FreeBits,
    Progress,
    Warmup,
)
from pyrovae.programs.vae import VAE
from tests.support.objectives import (
    Draws,
    assert_equal,
    assert_is,
    double_images,
    double_vae,
    draw,
    gradients,
)

both_ways = pytest.mark.parametrize("num_particles", [1, 3])


def exact_rates(vae: VAE, x: Tensor) -> Tensor:
    """The divergence of each dimension, averaged over the images, of diagonal Normals."""
    q = vae.guide.z_dist(x)
    return ((q.variance + q.mean.square() - 1) / 2 - q.stddev.log()).mean(0)


@both_ways
def test_free_bits_are_the_formula(num_particles: int) -> None:
    vae, x = double_vae(), double_images()
    threshold = exact_rates(vae, x).median().item() * 1.01
    assert (exact_rates(vae, x) > threshold).any() and (exact_rates(vae, x) < threshold).any()

    def formula() -> Tensor:
        distortion = -draw(vae, x, num_particles).log_x.mean(0)
        rates = exact_rates(vae, x)
        return distortion.sum() + len(x) * torch.where(rates > threshold, rates, threshold).sum()

    assert_is(FreeBits(threshold, num_particles=num_particles), vae, x, formula)


def test_free_bits_have_no_gradient_below_the_threshold() -> None:
    """The guide then learns from the reconstruction alone, as if beta were zero."""
    vae, x = double_vae(), double_images()
    above = exact_rates(vae, x).max().item() + 1
    assert_is(FreeBits(above), vae, x, lambda: 3 * above * len(x) - draw(vae, x, 1).log_x.sum())


@pytest.mark.parametrize("posterior", ["DiagonalNormal", "FullRankNormal", "LowRankNormal"])
def test_free_bits_without_a_threshold_are_the_elbo_of_exact_divergences(posterior: str) -> None:
    vae, x = double_vae(posterior=posterior), double_images()
    losses, grads = [], []
    for elbo in (FreeBits(0.0), TraceMeanField_ELBO()):
        torch.manual_seed(3)
        loss = elbo.differentiable_loss(vae.model, vae.guide, x)
        losses.append(loss.item())
        grads.append(gradients(loss, vae))
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert_equal(*grads)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        ("FullRankNormal", "StandardNormal"),
        ("DiagonalNormal", "GaussianMixture"),
        ("HouseholderFlow", "StandardNormal"),
        ("VonMisesFisher", "HypersphericalUniform"),
    ],
)
def test_free_bits_take_dependent_dimensions_as_one_group(posterior: str, prior: str) -> None:
    vae, x = double_vae(posterior=posterior, prior=prior), double_images()

    def rate(draws: Draws) -> Tensor:
        try:
            return kl_divergence(draws.q, draws.p.expand([len(x)])).mean()
        except NotImplementedError:
            return draws.rate.mean()

    torch.manual_seed(3)
    found = abs(rate(draw(vae, x, 1)).item())
    for threshold in (0.5 * found / 3, 2 * found / 3):

        def formula(threshold: float = threshold) -> Tensor:
            draws = draw(vae, x, 1)
            return len(x) * rate(draws).clamp(min=3 * threshold) - draws.log_x.sum()

        assert_is(FreeBits(threshold), vae, x, formula)


def test_free_bits_use_the_draws_where_no_divergence_is_known() -> None:
    vae, x = double_vae(prior="StudentT"), double_images()

    def formula() -> Tensor:
        draws = draw(vae, x, 2)
        rates = draws.q.base_dist.log_prob(draws.z) - draws.p.base_dist.log_prob(draws.z)
        return len(x) * rates.mean((0, 1)).clamp(min=0.2).sum() - draws.log_x.mean(0).sum()

    assert_is(FreeBits(0.2, num_particles=2), vae, x, formula)


@both_ways
@pytest.mark.parametrize("target", [0.0, 1e3])
def test_capacity_is_the_formula(target: float, num_particles: int) -> None:
    """Below the target more rate lowers the loss, above it raises it."""
    vae, x = double_vae(), double_images()

    def formula() -> Tensor:
        draws = draw(vae, x, num_particles)
        sign = -1 if target else 1
        distance = sign * (draws.rate.mean() - target)
        assert distance > 0
        return 7 * len(x) * distance - draws.log_x.mean(0).sum()

    objective = Capacity(target, gamma=7.0, num_particles=num_particles)
    assert_is(objective, vae, x, formula)


def test_capacity_rises_with_its_schedule() -> None:
    objective = Capacity(20.0, schedule=Warmup(0.5))
    assert objective.target == 20.0
    targets = []
    for step in (0, 24, 49, 50, 99):
        objective.begin_step(Progress(step, total=100, per_epoch=10))
        targets.append(objective.target)
    assert targets == pytest.approx([0.4, 10.0, 20.0, 20.0, 20.0])
    whole = Capacity(20.0, schedule=Constant())
    whole.begin_step(Progress(0, total=100, per_epoch=10))
    assert whole.target == 20.0
    unsaid = Capacity(20.0)
    unsaid.begin_step(Progress(24, total=100, per_epoch=10))
    assert unsaid.target == pytest.approx(10.0)


def log_normal(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * ((z - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)


def parts_in_loops(draws: Draws, num_images: int) -> Tensor:
    """The three parts of every draw by minibatch weighted sampling, one number at a time."""
    loc, scale = draws.q.mean, draws.q.stddev
    count, dim = loc.shape
    rows = []
    for k in range(len(draws.z)):
        for i in range(count):
            z = draws.z[k, i]
            joint, single = torch.zeros(()), torch.zeros(dim)
            for j in range(count):
                each = log_normal(z, loc[j], scale[j]).exp()
                joint = joint + each.prod() / (count * num_images)
                single = single + each / (count * num_images)
            own = log_normal(z, loc[i], scale[i]).sum()
            prior = log_normal(z, torch.zeros(dim), torch.ones(dim)).sum()
            product = single.log().sum()
            rows.append(torch.stack([own - joint.log(), joint.log() - product, product - prior]))
    return torch.stack(rows).reshape(len(draws.z), count, 3)


@both_ways
@pytest.mark.parametrize("num_images", [None, 1000])
def test_beta_tc_is_a_naive_double_loop(num_particles: int, num_images: int | None) -> None:
    vae, x = double_vae(), double_images(5)
    objective = BetaTC(0.5, 6.0, 2.0, num_particles=num_particles)
    if num_images:
        objective.begin_step(Progress(0, 10, 5, num_images))
    weights = torch.tensor([0.5, 6.0, 2.0], dtype=torch.float64)

    def formula() -> Tensor:
        draws = draw(vae, x, num_particles)
        parts = parts_in_loops(draws, num_images or len(x))
        return (parts @ weights).mean(0).sum() - draws.log_x.mean(0).sum()

    assert_is(objective, vae, x, formula)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        ("DiagonalNormal", "StandardNormal"),
        ("DiagonalNormal", "GaussianMixture"),
        ("Laplace", "StudentT"),
    ],
)
def test_the_parts_of_beta_tc_add_up_to_the_rate(posterior: str, prior: str) -> None:
    vae, x = double_vae(posterior=posterior, prior=prior), double_images()
    objective = BetaTC(1.0, 1.0, 1.0, num_particles=3)
    assert_is(objective, vae, x, lambda: -draw(vae, x, 3).log_weights.mean(0).sum())


def test_beta_tc_sees_dimensions_that_depend_on_each_other() -> None:
    """Two latents that are copies over the data, against two that are independent."""
    vae = double_vae()
    common = torch.randn(300, 1, dtype=torch.float64)
    found: list[float] = []
    for other in (common, torch.randn(300, 1, dtype=torch.float64)):
        loc = torch.cat([common, other, torch.zeros_like(common)], 1)
        make_guide_answer(vae, loc)
        objective = BetaTC(0.0, 1.0, 0.0)
        objective.begin_step(Progress(0, 1, 1, len(loc)))
        x = double_images(1).expand(len(loc), -1, -1, -1)
        loss = objective.loss(vae.model, vae.guide, x)
        assert objective.rate_and_distortion is not None
        found.append(loss / len(loc) - objective.rate_and_distortion[1].item())
    assert found[0] - found[1] > 1.0


def make_guide_answer(vae: VAE, loc: Tensor) -> None:
    """Makes the guide's posteriors Normals of these locations and of scale 0.1."""
    features = vae.guide.posterior.features(loc, torch.full_like(loc, 0.1))
    vae.guide.encoder.forward = lambda x: features


def test_progress_without_a_number_of_images_leaves_the_batch() -> None:
    objective: BetaTC = BetaTC()
    objective.begin_step(Progress(0, 10, 5))
    assert objective.state["num_images"] == 0
