"""What holds of the densities of priors and posteriors alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.testing.gof import auto_goodness_of_fit
from torch import nn
from torch.distributions import kl_divergence

from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from tests.tables import (
    FALSE_ALARM,
    LATENT_DIM,
    PAIRS,
    POSTERIORS,
    PRIORS,
    Z_LIMIT,
    fits,
    random_input,
    shake,
)

Make = Callable[[], nn.Module]
TABLES = {"prior": PRIORS, "posterior": POSTERIORS}
PARTS = {f"{role}-{name}": make for role, table in TABLES.items() for name, make in table.items()}
SPHERICAL = ["prior-HypersphericalUniform", "posterior-VonMisesFisher"]
every_part = pytest.mark.parametrize("name", PARTS)
every_part_in_space = pytest.mark.parametrize("name", [n for n in PARTS if n not in SPHERICAL])


def trained(part: nn.Module) -> nn.Module:
    """The part in float64, its parameters somewhere else than at the start."""
    shake(part, 0.3)
    return part.double()


def latent_dist(part: Prior | Posterior) -> dist.TorchDistribution:
    """Its distribution, of batch shape `()`, in float64."""
    if isinstance(part, Prior):
        return part()
    return part(random_input(part, (), torch.float64) / 2)


@every_part
@torch.no_grad()
def test_draws_fit_the_density(name: str) -> None:
    p = latent_dist(trained(PARTS[name]()))
    z = p.sample((6000,))
    dim = LATENT_DIM - 1 if name in SPHERICAL else LATENT_DIM
    assert auto_goodness_of_fit(z, p.log_prob(z).exp(), dim=dim) > FALSE_ALARM


@every_part_in_space
@torch.no_grad()
def test_draws_weighted_by_another_density_make_its_integral(name: str) -> None:
    """The mean of r(z) / p(z) is one for any density r, if draws and p are right."""
    p = latent_dist(trained(PARTS[name]()))
    z = p.sample((100_000,))
    middle, covariance = z.median(0).values, z[z.norm(dim=1) < 20].T.cov()
    for shift in (0.0, 0.5):
        r = dist.MultivariateNormal(middle + shift * covariance.diagonal().sqrt(), covariance / 4)
        weights = (r.log_prob(z) - p.log_prob(z.clone())).exp()
        error = weights.std() / math.sqrt(len(z))
        assert error < 0.1 and (weights.mean() - 1).abs() < Z_LIMIT * error


@every_part
@torch.no_grad()
def test_a_density_is_the_same_for_draws_and_for_equal_values(name: str) -> None:
    """Flows remember what led to a draw; the density must not depend on that."""
    p = latent_dist(trained(PARTS[name]()))
    z = p.sample((100,))
    assert torch.allclose(p.log_prob(z), p.log_prob(z.clone()), atol=1e-9)
    assert torch.allclose(p.log_prob(z)[7], p.log_prob(z[7]), atol=1e-9)


CLOSED = {
    ("StandardNormal", "DiagonalNormal"),
    ("StandardNormal", "FullRankNormal"),
    ("StandardNormal", "LowRankNormal"),
    ("StandardNormal", "Laplace"),
    ("Laplace", "Laplace"),
    ("Laplace", "DiagonalNormal"),
    ("HypersphericalUniform", "VonMisesFisher"),
}


@pytest.mark.parametrize(("prior", "posterior"), PAIRS)
@torch.no_grad()
def test_a_closed_divergence_is_the_mean_of_the_drawn_one(prior: str, posterior: str) -> None:
    p, q_z = trained(PRIORS[prior]())(), trained(POSTERIORS[posterior]())
    q = q_z(random_input(q_z, (3,), torch.float64) / 2)
    try:
        exact = kl_divergence(q, p)
    except NotImplementedError:
        assert (prior, posterior) not in CLOSED
        return
    assert (prior, posterior) in CLOSED and exact.shape == (3,) and (exact >= 0).all()
    z = q.sample((20_000,))
    drawn = q.log_prob(z) - p.log_prob(z)
    error = drawn.std(0) / math.sqrt(len(z))
    assert ((drawn.mean(0) - exact).abs() < Z_LIMIT * error + 1e-9).all()


def test_every_prior_and_posterior_has_one_that_fits() -> None:
    assert all(any(fits(p_z, q_z) for q_z in POSTERIORS) for p_z in PRIORS)
    assert all(any(fits(p_z, q_z) for p_z in PRIORS) for q_z in POSTERIORS)
