"""What each objective's gradient is on average, for several betas, against quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
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
from tests.support.oracles import assert_mean, one_dimensional_vae

IMAGES, REPEATS = 150, 80
BETAS = [0.05, 0.3, 1.0, 2.5]


class Nodes:
    """Rate and distortion of an image at fixed noise: functions of all parameters."""

    def __init__(self, vae: VAE, x: Tensor, beta: float) -> None:
        q, self.beta = vae.guide.z_dist(x), beta
        noise = torch.linspace(-9, 9, 401, dtype=torch.float64)
        density = torch.exp(-noise.square() / 2) / math.sqrt(2 * math.pi)
        self.weights = density * (noise[1] - noise[0])
        self.z = (q.mean + q.stddev * noise[:, None]).unsqueeze(-2)
        self.distortions = -vae.decode(self.z).log_prob(x).squeeze(-1)
        self.rates = (q.log_prob(self.z) - vae.model.z_dist().log_prob(self.z)).squeeze(-1)
        self.rate, self.distortion = self.weights @ self.rates, self.weights @ self.distortions


def of_elbo(nodes: Nodes) -> Tensor:
    return nodes.distortion + nodes.beta * nodes.rate


def of_iwae(nodes: Nodes) -> Tensor:
    log_w = -nodes.distortions - nodes.beta * nodes.rates
    return -(nodes.weights @ torch.logaddexp(log_w, log_w[:, None]) @ nodes.weights)


def of_mmd(nodes: Nodes) -> Tensor:
    grid = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    of_prior = torch.exp(-grid.square() / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    z, signed = torch.cat([nodes.z.flatten(), grid]), torch.cat([nodes.weights, -of_prior])
    square = (z - z[:, None]).square()
    kernel = sum(2 * s / (2 * s + square) for s in MMD.SCALES)
    weighed = 0.7 * nodes.rate + 49.3 * (signed @ kernel @ signed)
    return nodes.distortion + nodes.beta * weighed


#: Each with the expectation of its loss, in nats per image, up to a constant.
CASES: dict[str, tuple[Callable[..., Any], Callable[[Nodes], Tensor]]] = {
    "Trace_ELBO": (Trace_ELBO, of_elbo),
    "TraceGraph_ELBO": (TraceGraph_ELBO, of_elbo),
    "TraceMeanField_ELBO": (TraceMeanField_ELBO, of_elbo),
    "RenyiELBO": (RenyiELBO, of_iwae),
    "StickingTheLanding": (StickingTheLanding, of_elbo),
    "IWAE": (IWAE, of_iwae),
    "DReG": (DReG, of_iwae),
    "FreeBits-below": (lambda **kwargs: FreeBits(99.0, **kwargs), lambda n: n.distortion),
    "FreeBits-above": (lambda **kwargs: FreeBits(1e-3, **kwargs), of_elbo),
    "Capacity-below": (
        lambda **kwargs: Capacity(50.0, gamma=3.0, **kwargs),
        lambda n: n.distortion - 3 * n.beta * n.rate,
    ),
    "Capacity-above": (
        lambda **kwargs: Capacity(0.0, gamma=3.0, **kwargs),
        lambda n: n.distortion + 3 * n.beta * n.rate,
    ),
    "GECO": (lambda **kwargs: GECO(target=-0.2, speed=1e-9, **kwargs), of_elbo),
    # In one dimension and with identical images, the three parts are constants or the rate.
    "BetaTC": (
        lambda **kwargs: BetaTC(0.5, 6.0, 2.0, **kwargs),
        lambda n: n.distortion + 2 * n.beta * n.rate,
    ),
    "MMD": (lambda **kwargs: MMD(0.3, 50.0, **kwargs), of_mmd),
}


def flat_gradients(vae: VAE) -> Tensor:
    return torch.cat([p.grad.flatten() for p in vae.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("beta", BETAS)
def test_the_gradient_is_right_on_average(case: str, beta: float) -> None:
    make, expected = CASES[case]
    vae = one_dimensional_vae()
    x = torch.rand(1, 1, 1, 2, dtype=torch.float64)
    expected(Nodes(vae, x, beta)).backward()
    exact = flat_gradients(vae)
    elbo = make(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    as_objective(elbo).begin_step(Progress(99, 100, 10, num_images=1000))
    rows = []
    for _ in range(REPEATS):
        vae.zero_grad()
        with ScaleLatents(beta):
            elbo.loss_and_grads(vae.model, vae.guide, x.expand(IMAGES, 1, 1, 2))
        rows.append(flat_gradients(vae) / IMAGES)
    assert exact.norm() > 0.05
    assert_mean(torch.stack(rows), exact)
