from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovae.distributions import Mixture
from pyrovae.objectives import MMD, Latent
from tests.support.objectives import assert_is, double_images, double_vae, draw
from tests.support.oracles import assert_mean
from tests.support.tables import LATENT_DIM, Z_LIMIT, make_vae

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def kernel(one: Tensor, other: Tensor) -> Tensor:
    sizes = [2 * len(one) * scale for scale in SCALES]
    return torch.stack([c / (c + ((one - other) ** 2).sum()) for c in sizes]).sum()


def in_loops(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased estimator of the squared MMD, one pair at a time."""
    count = len(first)
    total = torch.zeros((), dtype=first.dtype)
    for i in range(count):
        for j in range(count):
            total = total - 2 * kernel(first[i], second[j]) / count**2
            if i != j:
                pair = kernel(first[i], first[j]) + kernel(second[i], second[j])
                total = total + pair / (count * (count - 1))
    return total


def test_the_discrepancy_is_a_naive_double_loop() -> None:
    first, second = torch.randn(2, 6, 3, dtype=torch.float64)
    assert torch.allclose(MMD().discrepancy(first, second), in_loops(first, second))
    many = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    mean = torch.stack([in_loops(*pair) for pair in many.transpose(0, 1)]).mean()
    assert torch.allclose(MMD().discrepancy(*many), mean)


@pytest.mark.slow
def test_the_discrepancy_is_zero_on_average_for_equal_distributions() -> None:
    first, second = torch.randn(2, 1000, 8, 3).exp()
    found = torch.stack([MMD().discrepancy(*pair) for pair in zip(first, second, strict=True)])
    assert_mean(found, 0.0)
    assert found.min() < 0 < found.max()
    with pytest.raises(AssertionError):
        shifted = [MMD().discrepancy(a, b + 0.5) for a, b in zip(first, second, strict=True)]
        assert_mean(torch.stack(shifted), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("prior", ["StandardNormal", "FlowPrior-RealNVP"])
def test_the_loss_is_the_formula(prior: str, num_particles: int) -> None:
    """Of priors whose draws are reparameterised."""
    vae, x = double_vae(prior=prior), double_images(5)

    def formula() -> Tensor:
        draws = draw(vae, x, num_particles)
        p = draws.p.expand([num_particles, len(x)])
        fresh = p.rsample() if p.has_rsample else p.sample()
        gap = torch.stack([in_loops(z, own) for z, own in zip(draws.z, fresh, strict=True)]).mean()
        elbo = 0.6 * draws.rate - draws.log_x
        return elbo.mean(0).sum() + len(x) * (0.4 + 90 - 1) * gap

    assert_is(MMD(0.4, 90.0, num_particles=num_particles), vae, x, formula)


def test_without_alpha_and_with_weight_one_it_is_the_elbo() -> None:
    vae, x = double_vae(), double_images()
    assert_is(MMD(0.0, 1.0), vae, x, lambda: -draw(vae, x, 1).log_weights.sum())


def test_equal_draws_have_finite_gradients() -> None:
    same = torch.ones(4, 3, requires_grad=True)
    MMD().discrepancy(same, torch.zeros(4, 3)).backward()
    assert same.grad is not None and same.grad.isfinite().all() and (same.grad != 0).all()


@pytest.mark.parametrize("name", ["GaussianMixture", "VampPrior", "FlowPrior-RealNVP"])
def test_priors_that_learn_get_the_gradient_of_the_discrepancy(name: str) -> None:
    vae, x = make_vae(prior=name).double(), double_images(4)
    for alpha in (1.0, 0.5):
        vae.zero_grad()
        MMD(alpha).loss_and_grads(vae.model, vae.guide, x)
        for parameter, p in vae.model.prior.named_parameters():
            assert p.grad is not None and p.grad.abs().sum() > 0, (alpha, parameter)


@pytest.mark.slow
def test_the_gradient_in_a_mixture_is_that_of_its_components() -> None:
    """Moving a mixture of one component is moving a Normal, whose draws know their gradient."""
    z = torch.randn(2000, 8, LATENT_DIM, dtype=torch.float64) + 0.7
    means = []
    for reparameterised in (True, False):
        loc = torch.zeros(LATENT_DIM, dtype=torch.float64, requires_grad=True)
        normal = dist.Normal(loc, torch.ones_like(loc)).to_event(1)
        weights = dist.Categorical(logits=loc.new_zeros(1))
        parts = dist.Normal(loc.unsqueeze(0), torch.ones_like(loc).unsqueeze(0)).to_event(1)
        p = normal if reparameterised else Mixture(weights, parts)
        torch.manual_seed(5)
        grads = []
        for batch in z.split(20):
            q = dist.Normal(batch, 1.0).to_event(1)
            terms = torch.zeros(len(batch), 8, dtype=torch.float64)
            latent = Latent("z", q, p.expand([20, 8]), batch, 1.0, terms, terms, terms)
            (grad,) = torch.autograd.grad(MMD()._of_site(latent), loc)
            grads.append(grad)
        found = torch.stack(grads)
        means.append((found.mean(0), found.var(0) / len(found)))
    (first, v), (second, w) = means
    assert ((first - second).abs() < Z_LIMIT * (v + w).sqrt()).all()
    assert (first.abs() > Z_LIMIT * v.sqrt()).all()
