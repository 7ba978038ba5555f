"""What each loss and its gradient are on average, against quadrature in one latent dimension."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor

from pyrovae.objectives import (
    GECO,
    IWAE,
    MMD,
    BetaTC,
    Capacity,
    DReG,
    FreeBits,
    Progress,
    ScaleLatents,
    StickingTheLanding,
    as_objective,
)
from pyrovae.programs.vae import VAE
from tests.support.oracles import Quadrature, assert_mean, one_dimensional_vae

#: Few steps with many images see as much as many steps with few, and take less time.
IMAGES, REPEATS = 900, 20
#: Except where a step takes time by the square of the number of images.
FEW_IMAGES, MANY_REPEATS = 150, 80
BETAS = [0.3, 2.5]  # Losses are those with a weight of 1.


class Nodes:
    """Rate and distortion of an image at fixed noise: functions of all parameters."""

    def __init__(self, vae: VAE, x: Tensor, beta: float) -> None:
        q, self.beta = vae.guide.z_dist(x), beta
        noise = torch.linspace(-9, 9, 201, dtype=torch.float64)
        density = torch.exp(-noise.square() / 2) / math.sqrt(2 * math.pi)
        self.weights = density * (noise[1] - noise[0])
        self.z = (q.mean + q.stddev * noise[:, None]).unsqueeze(-2)
        self.distortions = -vae.decode(self.z).log_prob(x).squeeze(-1)
        self.rates = (q.log_prob(self.z) - vae.model.z_dist().log_prob(self.z)).squeeze(-1)
        self.rate, self.distortion = self.weights @ self.rates, self.weights @ self.distortions


#: An objective by name.
MAKERS: dict[str, Callable[..., Any]] = {
    "Trace_ELBO": Trace_ELBO,
    "TraceGraph_ELBO": TraceGraph_ELBO,
    "TraceMeanField_ELBO": TraceMeanField_ELBO,
    "StickingTheLanding": StickingTheLanding,
    "RenyiELBO": RenyiELBO,
    "IWAE": IWAE,
    "DReG": DReG,
    "FreeBits-below": partial(FreeBits, 99.0),
    "FreeBits-above": partial(FreeBits, 1e-3),
    "Capacity-below": partial(Capacity, 50.0, gamma=3.0),
    "Capacity-above": partial(Capacity, 0.0, gamma=3.0),
    "GECO": partial(GECO, target=-0.2, speed=1e-9),
    "BetaTC": partial(BetaTC, 0.5, 6.0, 2.0),
    "MMD": partial(MMD, 0.3, 50.0),
}


def sizes(case: str) -> tuple[int, int]:
    """The number of images in a step, and of steps."""
    return (FEW_IMAGES, MANY_REPEATS) if case in ("BetaTC", "MMD") else (IMAGES, REPEATS)


def mmd_of(z: Tensor, weights: Tensor) -> Tensor:
    """The discrepancy of one posterior from the prior, over all pairs of nodes."""
    grid = torch.linspace(-9, 9, 401, dtype=torch.float64)
    of_prior = torch.exp(-grid.square() / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    z, signed = torch.cat([z.flatten(), grid]), torch.cat([weights, -of_prior])
    square = (z - z[:, None]).square()
    kernel = sum(2 * s / (2 * s + square) for s in MMD.SCALES)
    return signed @ kernel @ signed


def loss_of(name: str, exact: Quadrature) -> float:
    """The expected loss of identical images, in nats per image."""
    rate, distortion = exact.rate, exact.distortion
    if name in ("RenyiELBO", "IWAE", "DReG"):
        return -exact.two_particle_bound()
    return distortion + {
        "FreeBits-below": 99.0,
        "Capacity-below": 3 * (50 - rate),
        "Capacity-above": 3 * rate,
        "GECO": rate + 0.2 * 2,
        # In one dimension there is no total correlation, and identical images share a posterior.
        "BetaTC": 0.5 * math.log(1000) + 2 * (rate - math.log(1000)),
        "MMD": 0.7 * rate + 49.3 * mmd_of(exact.z, exact.weights).item(),
    }.get(name, rate)


def weighted_loss_of(name: str, nodes: Nodes) -> Tensor:
    """The expected loss with a weight on the rate, up to a constant."""
    if name in ("RenyiELBO", "IWAE", "DReG"):
        log_w = -nodes.distortions - nodes.beta * nodes.rates
        return -(nodes.weights @ torch.logaddexp(log_w, log_w[:, None]) @ nodes.weights)
    # In one dimension and with identical images, the parts of BetaTC are constants or the rate.
    factors = {"FreeBits-below": 0, "Capacity-below": -3, "Capacity-above": 3, "BetaTC": 2}
    weighed = factors.get(name, 1) * nodes.rate
    if name == "MMD":
        weighed = 0.7 * nodes.rate + 49.3 * mmd_of(nodes.z, nodes.weights)
    return nodes.distortion + nodes.beta * weighed


def losses(elbo: Any, count: int, repeats: int) -> tuple[Quadrature, Tensor]:
    """The losses of batches of identical images, in nats an image."""
    vae = one_dimensional_vae()
    x = torch.rand(1, 1, 1, 2, dtype=torch.float64)
    many = x.expand(count, 1, 1, 2)
    as_objective(elbo).begin_step(Progress(99, 100, 10, num_images=1000))
    found = [elbo.loss(vae.model, vae.guide, many) / count for _ in range(repeats)]
    return Quadrature(vae, x), torch.tensor(found, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("case", MAKERS)
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
@torch.no_grad()
def test_the_loss_is_right_on_average(case: str, vectorize: bool) -> None:
    how = {"num_particles": 2, "vectorize_particles": vectorize, "max_plate_nesting": 1}
    exact, found = losses(MAKERS[case](**how), *sizes(case))
    assert exact.rate > 0.05
    assert_mean(found, loss_of(case, exact))


@pytest.mark.slow
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
@torch.no_grad()
def test_rate_and_distortion_are_right_on_average(vectorize: bool) -> None:
    """They are measured without the weight of the latent sites, and so is the quadrature."""
    elbo = IWAE(3, vectorize_particles=vectorize)
    vae, x = one_dimensional_vae(), torch.rand(1, 1, 1, 2, dtype=torch.float64)
    exact, rows = Quadrature(vae, x), []
    for _ in range(REPEATS):
        with ScaleLatents(0.3):
            elbo.loss(vae.model, vae.guide, x.expand(IMAGES, 1, 1, 2))
        assert elbo.rate_and_distortion is not None
        rows.append(torch.stack(elbo.rate_and_distortion))
    assert_mean(torch.stack(rows), torch.tensor([exact.rate, exact.distortion]))


@torch.no_grad()
def test_the_quadrature_is_that_of_closed_forms() -> None:
    vae, x = one_dimensional_vae(), torch.rand(1, 1, 1, 2, dtype=torch.float64)
    exact = Quadrature(vae, x)
    q = vae.encode(x)
    kl = (q.variance + q.mean.square() - 1) / 2 - q.stddev.log()
    assert exact.mean(torch.ones(())) == pytest.approx(1, abs=1e-12)
    assert exact.mean(exact.z.flatten()) == pytest.approx(q.mean.item(), abs=1e-12)
    assert exact.rate == pytest.approx(kl.item(), abs=1e-10)
    between = exact.two_particle_bound()
    evidence = math.log(exact.mean(torch.exp(-exact.rates - exact.distortions)))
    assert -exact.rate - exact.distortion < between < evidence


def flat_gradients(vae: VAE) -> Tensor:
    return torch.cat([p.grad.flatten() for p in vae.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("case", MAKERS)
@pytest.mark.parametrize("beta", BETAS)
def test_the_gradient_is_right_on_average(case: str, beta: float) -> None:
    vae = one_dimensional_vae()
    x = torch.rand(1, 1, 1, 2, dtype=torch.float64)
    weighted_loss_of(case, Nodes(vae, x, beta)).backward()
    exact = flat_gradients(vae)
    elbo = MAKERS[case](num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    as_objective(elbo).begin_step(Progress(99, 100, 10, num_images=1000))
    rows, (count, repeats) = [], sizes(case)
    for _ in range(repeats):
        vae.zero_grad()
        with ScaleLatents(beta):
            elbo.loss_and_grads(vae.model, vae.guide, x.expand(count, 1, 1, 2))
        rows.append(flat_gradients(vae) / count)
    assert exact.norm() > 0.05
    assert_mean(torch.stack(rows), exact)
