"""What each loss is on average, against quadrature in one latent dimension."""

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
from tests.support.oracles import Quadrature, assert_mean, one_dimensional_vae

Expected = Callable[[Quadrature], float]
IMAGES = 150


def of_elbo(exact: Quadrature) -> float:
    return exact.rate + exact.distortion


def of_iwae(exact: Quadrature) -> float:
    return -exact.two_particle_bound()


def of_mmd(exact: Quadrature) -> float:
    """The discrepancy of this one posterior from the prior, over all pairs of nodes."""
    grid = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    of_prior = torch.exp(-grid.square() / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    z, signed = torch.cat([exact.z.flatten(), grid]), torch.cat([exact.weights, -of_prior])
    square = (z - z[:, None]).square()
    kernel = sum(2 * s / (2 * s + square) for s in MMD.SCALES)
    return exact.distortion + 0.7 * exact.rate + 49.3 * (signed @ kernel @ signed).item()


#: Each with what it expects of identical images, in nats an image.
CASES: dict[str, tuple[Callable[..., Any], Expected]] = {
    "Trace_ELBO": (Trace_ELBO, of_elbo),
    "TraceGraph_ELBO": (TraceGraph_ELBO, of_elbo),
    "TraceMeanField_ELBO": (TraceMeanField_ELBO, of_elbo),
    "StickingTheLanding": (StickingTheLanding, of_elbo),
    "RenyiELBO": (RenyiELBO, of_iwae),
    "IWAE": (IWAE, of_iwae),
    "DReG": (DReG, of_iwae),
    "FreeBits-below": (
        lambda **kwargs: FreeBits(9.0, **kwargs),
        lambda exact: exact.distortion + 9.0,
    ),
    "FreeBits-above": (lambda **kwargs: FreeBits(1e-3, **kwargs), of_elbo),
    "Capacity-below": (
        lambda **kwargs: Capacity(50.0, gamma=3.0, **kwargs),
        lambda exact: exact.distortion + 3 * (50 - exact.rate),
    ),
    "Capacity-above": (
        lambda **kwargs: Capacity(0.0, gamma=3.0, **kwargs),
        lambda exact: exact.distortion + 3 * exact.rate,
    ),
    "GECO": (
        lambda **kwargs: GECO(target=-0.2, **kwargs),
        lambda exact: exact.rate + exact.distortion + 0.2 * 2,
    ),
    # In one dimension there is no total correlation, and identical images share one posterior.
    "BetaTC": (
        lambda **kwargs: BetaTC(0.5, 6.0, 2.0, **kwargs),
        lambda exact: exact.distortion + 0.5 * math.log(1000) + 2 * (exact.rate - math.log(1000)),
    ),
    "MMD": (lambda **kwargs: MMD(0.3, 50.0, **kwargs), of_mmd),
}


def losses(elbo: Any, repeats: int = 60) -> tuple[Quadrature, Tensor]:
    """The losses of batches of identical images, in nats an image."""
    vae = one_dimensional_vae()
    x = torch.rand(1, 1, 1, 2, dtype=torch.float64)
    many = x.expand(IMAGES, 1, 1, 2)
    as_objective(elbo).begin_step(Progress(99, 100, 10, num_images=1000))
    found = [elbo.loss(vae.model, vae.guide, many) / IMAGES for _ in range(repeats)]
    return Quadrature(vae, x), torch.tensor(found, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
@torch.no_grad()
def test_the_loss_is_right_on_average(case: str, vectorize: bool) -> None:
    make, expected = CASES[case]
    exact, found = losses(
        make(num_particles=2, vectorize_particles=vectorize, max_plate_nesting=1)
    )
    assert exact.rate > 0.05
    assert_mean(found, expected(exact))


@pytest.mark.slow
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
@torch.no_grad()
def test_rate_and_distortion_are_right_on_average(vectorize: bool) -> None:
    """They are measured without the weight of the latent sites, and so is the quadrature."""
    elbo = IWAE(3, vectorize_particles=vectorize)
    vae, x = one_dimensional_vae(), torch.rand(1, 1, 1, 2, dtype=torch.float64)
    exact, rows = Quadrature(vae, x), []
    for _ in range(60):
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
