"""What holds of the densities of priors and posteriors alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from tests.support.tables import (
    FALSE_ALARM,
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
    shake(part, 0.15)
    return part.double()


def latent_dist(part: Prior | Posterior) -> dist.TorchDistribution:
    """Its distribution, of batch shape `()`, in float64."""
    if isinstance(part, Prior):
        return part()
    return part(random_input(part, (), torch.float64) / 2)


def cell_of(z: Tensor, ends: Tensor) -> Tensor:
    """Which of the 27 cells of space each point is in; ends `(2, 3)` are of each dimension."""
    return ((z > ends[0]).long() + (z > ends[1])) @ torch.tensor([9, 3, 1])


@pytest.mark.slow
@every_part_in_space
@torch.no_grad()
def test_draws_fit_the_density_which_integrates_to_one(name: str) -> None:
    """How often draws are in a cell against its integral, by draws of a wider density."""
    p = latent_dist(trained(PARTS[name]()))
    z = p.sample((50_000,))
    ends = z.quantile(torch.tensor([1 / 3, 2 / 3], dtype=z.dtype), dim=0)
    wide = dist.StudentT(z.new_tensor(2.0), ends.mean(0), ends[1] - ends[0]).to_event(1)
    x = wide.sample((100_000,))
    weights = (p.log_prob(x) - wide.log_prob(x)).exp()
    limit = scipy.stats.norm.isf(FALSE_ALARM / 2 / 28)
    total_error = weights.std() / math.sqrt(len(x))
    assert total_error < 0.1 and (weights.mean() - 1).abs() < limit * total_error
    for cell in range(27):
        share = (cell_of(z, ends) == cell).double().mean()
        weighed = weights * (cell_of(x, ends) == cell)
        # Counts are as spread as Poisson's, also where none is found.
        variance = weighed.var() / len(x) + (weighed.mean() + 1 / len(z)) / len(z)
        assert (share - weighed.mean()).abs() < limit * variance.sqrt()


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
