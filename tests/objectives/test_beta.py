"""The weight of the latent sites, and what is measured beside it."""

from __future__ import annotations

import pyro
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae.objectives import GECO, LatentRate, ScaleLatents, as_objective
from pyrovae.programs.vae import VAE
from tests.support.objectives import (
    OBJECTIVES,
    MakeObjective,
    assert_equal,
    double_images,
    double_vae,
    draw,
    gradients,
)
from tests.support.tables import IMAGE_SHAPE, LIKELIHOODS, make_images, make_vae

#: The objectives whose loss has beta as a factor of what stands in the place of the rate.
LINEAR = {name: make for name, make in OBJECTIVES.items() if "IWAE" not in name and name != "DReG"}


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


@pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR.keys())
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
@torch.no_grad()
def test_beta_is_a_factor_of_what_replaces_the_rate(make: MakeObjective, vectorize: bool) -> None:
    """Without it the distortion is left, or GECO's distance of it from the target."""
    vae, x = double_vae(), double_images()
    elbo = make(num_particles=2, vectorize_particles=vectorize)
    zero, one, four = (loss_at(beta, elbo, vae, x) for beta in (0, 1, 4))
    assert four - one == pytest.approx(3 * (one - zero), rel=1e-9) and one != zero
    if elbo.rate_and_distortion is not None:
        target = elbo.target_distortion * x.numel() if isinstance(elbo, GECO) else 0.0
        assert zero == pytest.approx(
            elbo.rate_and_distortion[1].item() * len(x) - target, rel=1e-9
        )


@pytest.mark.parametrize("name", ["IWAE", "DReG"])
@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0])
@torch.no_grad()
def test_beta_weighs_the_rate_within_the_weights(name: str, beta: float) -> None:
    vae, x = double_vae(), double_images()
    found = loss_at(beta, OBJECTIVES[name](num_particles=3), vae, x)
    torch.manual_seed(3)
    draws = draw(vae, x, 3)
    weights = torch.exp(draws.log_x - beta * draws.rate)
    assert found == pytest.approx(-weights.mean(0).log().sum().item(), rel=1e-9)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "Denoising-ELBO"])
@torch.no_grad()
def test_what_is_measured_does_not_depend_on_beta(name: str) -> None:
    vae, x = double_vae(), double_images()
    elbo, found = OBJECTIVES[name](num_particles=3), []
    for beta in (0.0, 1.0, 4.0):
        loss_at(beta, elbo, vae, x)
        found.append(torch.stack(elbo.rate_and_distortion))
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])
    if name != "Denoising-IWAE":
        torch.manual_seed(3)
        draws = draw(vae, x, 3)
        assert torch.allclose(found[0], torch.stack([draws.rate.mean(), -draws.log_x.mean()]))


@torch.no_grad()
def test_beta_does_not_outlive_its_context() -> None:
    vae, x = make_vae(), torch.rand(4, *IMAGE_SHAPE)
    before = loss_at(1, Trace_ELBO(), vae, x)
    loss_at(4, Trace_ELBO(), vae, x)
    torch.manual_seed(3)
    assert Trace_ELBO().loss(vae.model, vae.guide, x) == before


def test_gradients_under_beta_are_those_of_the_formula() -> None:
    vae, x = double_vae(), double_images()
    torch.manual_seed(3)
    with ScaleLatents(2.5):
        loss = Trace_ELBO().differentiable_loss(vae.model, vae.guide, x)
    torch.manual_seed(3)
    draws = draw(vae, x, 1)
    expected = (2.5 * draws.rate - draws.log_x).sum()
    assert_equal(gradients(loss, vae), gradients(expected, vae))


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
    expected = draw(vae, x, 3).rate.mean().item()
    assert latent.per_image() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
@torch.no_grad()
def test_rate_and_elbo_of_a_step_are_those_at_beta_one(beta: float) -> None:
    vae, x = double_vae(), double_images()
    torch.manual_seed(3)
    draws = draw(vae, x, 1)
    expected = (draws.rate.mean().item(), draws.log_weights.mean().item())
    for elbo in (Trace_ELBO(), OBJECTIVES["FreeBits"](num_particles=1)):
        torch.manual_seed(3)
        with ScaleLatents(beta):
            found = as_objective(elbo).terms_and_grads(beta, vae.model, vae.guide, x)
        assert (found.rate, found.elbo) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("beta", [0.5, 1.0])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_elbo_beside_a_bound_that_is_not_linear(alpha: float, beta: float) -> None:
    vae, x = double_vae(), double_images()
    elbo = RenyiELBO(alpha, num_particles=500, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(0)
    with torch.no_grad(), ScaleLatents(beta):
        terms = as_objective(elbo).terms_and_grads(beta, vae.model, vae.guide, x)
    loss, found, rate = terms
    plain = Trace_ELBO(500, vectorize_particles=True, max_plate_nesting=1)
    torch.manual_seed(0)
    with torch.no_grad():
        expected = -plain.loss(vae.model, vae.guide, x) / len(x)
    assert found == pytest.approx(expected, rel=1e-9) and rate > 0
    assert abs(found + loss) > 1e-3
