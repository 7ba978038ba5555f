from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae.objectives import (
    Beta,
    Constant,
    Cosine,
    ExponentialDecay,
    LatentRate,
    Progress,
    ScaleLatents,
    Schedule,
    Warmup,
)
from pyrovae.vae import VAE
from tests.oracles import LinearGaussian
from tests.tables import IMAGE_SHAPE, LIKELIHOODS, SCHEDULES, Z_LIMIT, make_images, make_vae

every_schedule = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES.keys())
MakeSchedule = Callable[[], Schedule]


def at(step: int, total: int = 100, per_epoch: int = 10) -> Progress:
    return Progress(step, total, per_epoch)


def loss_at(beta: float, elbo: pyro.infer.ELBO, vae: VAE, x: Tensor) -> float:
    torch.manual_seed(3)
    with ScaleLatents(beta):
        return elbo.loss(vae.model, vae.guide, x)


def drawn_rate(vae: VAE, x: Tensor) -> Tensor:
    """log q - log p of the draws that a loss under the same seed makes."""
    torch.manual_seed(3)
    q = vae.guide.z_dist(x)
    z = q.rsample()
    return q.log_prob(z) - vae.model.z_dist().log_prob(z)


@pytest.mark.parametrize("kind", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@torch.no_grad()
def test_beta_weighs_the_drawn_rate(kind: type[pyro.infer.ELBO], likelihood: str) -> None:
    vae = make_vae(likelihood).double()
    x = vae.observe(make_images(vae.likelihood, 4)).double()
    rate = drawn_rate(vae, x).sum().item()
    one = loss_at(1, kind(), vae, x)
    assert loss_at(4, kind(), vae, x) - one == pytest.approx(3 * rate, rel=1e-9)
    torch.manual_seed(3)
    assert kind().loss(vae.model, vae.guide, x) == one
    assert loss_at(0, kind(), vae, x) - one == pytest.approx(-rate, rel=1e-9)


@torch.no_grad()
def test_beta_weighs_the_exact_divergence() -> None:
    vae = make_vae().double()
    x = torch.rand(4, *IMAGE_SHAPE, dtype=torch.float64)
    exact = kl_divergence(vae.encode(x), vae.model.z_dist().expand([4])).sum().item()
    losses = [loss_at(beta, TraceMeanField_ELBO(), vae, x) for beta in (1, 4)]
    assert losses[1] - losses[0] == pytest.approx(3 * exact, rel=1e-9)


@torch.no_grad()
def test_beta_does_not_outlive_its_context() -> None:
    vae, x = make_vae(), torch.rand(4, *IMAGE_SHAPE)
    before = loss_at(1, Trace_ELBO(), vae, x)
    loss_at(4, Trace_ELBO(), vae, x)
    torch.manual_seed(3)
    assert Trace_ELBO().loss(vae.model, vae.guide, x) == before


def test_gradients_under_beta_are_those_of_the_formula() -> None:
    vae = make_vae("SharedScaleNormal").double()
    x = torch.rand(4, *IMAGE_SHAPE, dtype=torch.float64)
    torch.manual_seed(3)
    with ScaleLatents(2.5):
        Trace_ELBO().loss_and_grads(vae.model, vae.guide, x)
    found = [p.grad.clone() for p in vae.parameters()]
    torch.manual_seed(3)
    q = vae.guide.z_dist(x)
    z = q.rsample()
    rate = q.log_prob(z) - vae.model.z_dist().log_prob(z)
    loss = (2.5 * rate - vae.model.x_dist(z).log_prob(x)).sum()
    for gradient, expected in zip(found, torch.autograd.grad(loss, vae.parameters()), strict=True):
        assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [0.5, 1.0])
@torch.no_grad()
def test_latent_rate_is_the_rate_of_the_draws(beta: float) -> None:
    vae, x = make_vae(), torch.rand(4, *IMAGE_SHAPE)
    expected = drawn_rate(vae, x).mean().item()
    for _ in range(2):  # the second time shows that nothing is left of the first
        torch.manual_seed(3)
        with ScaleLatents(beta), LatentRate() as latent:
            Trace_ELBO().loss(vae.model, vae.guide, x)
        assert latent.per_image() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_latent_rate_of_particles() -> None:
    vae, x = make_vae(), torch.rand(4, *IMAGE_SHAPE)
    torch.manual_seed(3)
    with LatentRate() as latent:
        Trace_ELBO(num_particles=3).loss(vae.model, vae.guide, x)
        first = latent.per_image()
        assert first == pytest.approx(drawn_rate(vae, x).mean().item(), rel=1e-5)
        torch.manual_seed(3)
        many = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
        many.loss(vae.model, vae.guide, x)
    torch.manual_seed(3)
    q = vae.guide.z_dist(x)
    z = q.rsample((3,))
    expected = (q.log_prob(z) - vae.model.z_dist().log_prob(z)).mean().item()
    assert latent.per_image() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_bounds_are_tight_at_the_exact_posterior() -> None:
    linear = LinearGaussian()
    vae, x = linear.vae(), linear.images(5)
    expected = -linear.log_evidence(x).sum().item()
    for elbo in (Trace_ELBO(), RenyiELBO(alpha=0, num_particles=4), RenyiELBO(0.5, 4)):
        assert elbo.loss(vae.model, vae.guide, x) == pytest.approx(expected, rel=1e-9)


@torch.no_grad()
def test_bounds_are_ordered_at_another_posterior() -> None:
    linear = LinearGaussian()
    vae, x = linear.vae(), linear.images(5)
    vae.guide.posterior.covariance = 2 * vae.guide.posterior.covariance
    found, error = [], []
    for elbo in (Trace_ELBO(), RenyiELBO(0, 4), RenyiELBO(0, 20)):
        sample = torch.tensor([elbo.loss(vae.model, vae.guide, x) for _ in range(40)])
        found.append(sample.mean().item())
        error.append(sample.std().item() / math.sqrt(40))
    found.append(-linear.log_evidence(x).sum().item())
    error.append(0.0)
    for looser, tighter, e, f in zip(found, found[1:], error, error[1:], strict=False):
        assert looser - tighter > -Z_LIMIT * math.hypot(e, f)
    assert found[0] - found[-1] > Z_LIMIT * error[0]


@every_schedule
def test_a_schedule_stays_within_0_and_1(make: MakeSchedule) -> None:
    for total in (1, 2, 7, 100):
        factors = [make()(at(step, total)) for step in range(total + 1)]
        assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("name", ["Constant", "Cosine", "ExponentialDecay"])
def test_schedules_that_only_fall(name: str) -> None:
    factors = [SCHEDULES[name]()(at(step)) for step in range(101)]
    assert factors[0] == 1 and factors == sorted(factors, reverse=True)


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        (Constant(), 0, 1.0),
        (Constant(), 100, 1.0),
        (ExponentialDecay(0.5), 9, 1.0),
        (ExponentialDecay(0.5), 10, 0.5),
        (ExponentialDecay(0.5), 99, 0.5**9),
        (ExponentialDecay(1.0), 99, 1.0),
        (Cosine(0.2), 0, 1.0),
        (Cosine(0.2), 25, 0.2 + 0.4 * (1 + math.sqrt(0.5))),
        (Cosine(0.2), 50, 0.6),
        (Cosine(0.2), 100, 0.2),
        (Cosine(0.0), 100, 0.0),
        (Cosine(1.0), 70, 1.0),
        (Warmup(0.2), 0, 0.05),
        (Warmup(0.2), 9, 0.5),
        (Warmup(0.2), 19, 1.0),
        (Warmup(0.2), 20, 1.0),
        (Warmup(0.2), 100, 1.0),
        (Warmup(0.001), 0, 1.0),
        (Warmup(0.2, Cosine(0.0)), 20, 1.0),
        (Warmup(0.2, Cosine(0.0)), 60, 0.5),
        (Warmup(0.2, Cosine(0.0)), 100, 0.0),
        (Warmup(0.2, ExponentialDecay(0.5)), 30, 0.5),
    ],
)
def test_exact_factors(schedule: Schedule, step: int, factor: float) -> None:
    assert schedule(at(step)) == pytest.approx(factor, abs=1e-12)


def test_warmup_rises_evenly_and_is_never_0() -> None:
    factors = [Warmup(0.5)(at(step)) for step in range(100)]
    assert factors[:50] == pytest.approx([(step + 1) / 50 for step in range(50)])
    assert factors[50:] == [1.0] * 50


@pytest.mark.parametrize("total", [0, 1])
@every_schedule
def test_the_shortest_runs(make: MakeSchedule, total: int) -> None:
    assert make()(at(0, total, per_epoch=1)) == 1.0
    assert at(0, total).fraction == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ExponentialDecay, 0.0),
        (ExponentialDecay, 1.5),
        (ExponentialDecay, math.nan),
        (Cosine, -0.1),
        (Cosine, 1.1),
        (Cosine, math.nan),
        (Warmup, 0.0),
        (Warmup, 1.0),
        (Warmup, math.nan),
        (Beta, -1.0),
        (Beta, math.inf),
        (Beta, math.nan),
    ],
)
def test_wrong_arguments_are_refused(kind: type, value: float) -> None:
    with pytest.raises(ValueError, match=f"got {value}$"):
        kind(value)


def test_beta_is_its_value_times_its_schedule() -> None:
    assert Beta()(at(7)) == 1.0
    assert Beta(4.0)(at(7)) == 4.0
    assert Beta(4.0, Warmup(0.2))(at(9)) == pytest.approx(2.0)
    assert Beta(0.0, Warmup(0.2))(at(9)) == 0.0
