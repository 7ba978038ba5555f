"""Posteriors on a sphere: extreme inputs, and the exact one."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from pyrovae.posteriors.hyperspherical import VonMisesFisher as Posterior
from pyrovae.priors.hyperspherical import HypersphericalUniform
from tests.support.sphere import DTYPES, log_uniform_mean

EXTREMES = [0.0, 1e-6, 1e30, -1e30, math.inf, -math.inf]


@pytest.mark.parametrize("raw", EXTREMES)
@pytest.mark.parametrize("loc", EXTREMES)
@pytest.mark.parametrize("dim", [2, 128])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_input_makes_a_posterior_nan(
    loc: float, raw: float, dim: int, dtype: torch.dtype
) -> None:
    h = torch.tensor([loc] * dim + [raw], dtype=dtype, requires_grad=True)
    q, p = Posterior(dim)(h), HypersphericalUniform(dim).to(dtype)()
    z = q.rsample((100,))
    divergence = kl_divergence(q, p)
    rate = q.log_prob(z) - p.log_prob(z)
    for value in (z, rate, divergence, q.mean, q.stddev):
        assert value.isfinite().all() and value.dtype == dtype
    assert (q.concentration > 0).all() and (q.stddev > 0).all() and divergence >= 0
    (divergence + rate.sum() + z.sum()).backward()
    assert h.grad is not None and h.grad.isfinite().all()


def test_a_posterior_at_zero_can_leave() -> None:
    h = torch.zeros(4, requires_grad=True)
    (Posterior(3)(h).rsample() * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert h.grad is not None and (h.grad[1:] != 0).all()


def test_a_posterior_splits_its_input_into_direction_and_concentration() -> None:
    h, posterior = torch.tensor([[3.0, 0.0, -4.0, 0.0], [0.0, 0.1, 0.0, -2.0]]), Posterior(3)
    q = posterior(h)
    assert torch.allclose(q.loc, torch.tensor([[0.6, 0.0, -0.8], [0.0, 1.0, 0.0]]))
    assert torch.allclose(q.concentration, 2 * (10 * torch.tanh(h[:, 3] / 10)).exp())
    assert posterior.num_params == 4


@pytest.mark.parametrize("kind", [Posterior, HypersphericalUniform])
@pytest.mark.parametrize("latent_dim", [1, 0, -3])
def test_a_sphere_of_no_dimension_is_refused(kind: type, latent_dim: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 on a sphere, got {latent_dim}$"):
        kind(latent_dim)


@pytest.mark.parametrize("dim", [2, 3, 40])
def test_every_draw_of_the_exact_posterior_gives_the_evidence(dim: int) -> None:
    """With x ~ N(3 z, I) and z uniform on the sphere, q(z | x) is von Mises-Fisher."""
    x = 2 * torch.randn(5, dim, dtype=torch.float64)
    raw = 10 * torch.atanh((3 * x.norm(dim=-1) / (dim - 1)).log() / 10)
    posterior, prior = Posterior(dim), HypersphericalUniform(dim).double()

    def model() -> None:
        with pyro.plate("images", 5):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(3 * z, 1.0).to_event(1), obs=x)

    def guide() -> None:
        with pyro.plate("images", 5):
            pyro.sample("z", posterior(torch.cat([x, raw[:, None]], dim=-1)))

    kappa = (3 * x.norm(dim=-1)).tolist()
    constant = -(x.square().sum(-1) + 9 + dim * math.log(2 * math.pi)).sum().item() / 2
    evidence = sum(k + log_uniform_mean(dim, k) for k in kappa) + constant
    for elbo in (pyro.infer.Trace_ELBO, pyro.infer.TraceGraph_ELBO, pyro.infer.RenyiELBO):
        bound = elbo(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
        assert -bound.loss(model, guide) == pytest.approx(evidence, abs=1e-10)
