from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyrovae.objectives import MMD
from tests.objectives.common import assert_is, double_images, double_vae, draw
from tests.oracles import assert_mean

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


def test_the_discrepancy_is_zero_on_average_for_equal_distributions() -> None:
    first, second = torch.randn(2, 3000, 8, 3).exp()
    found = torch.stack([MMD().discrepancy(*pair) for pair in zip(first, second, strict=True)])
    assert_mean(found, 0.0)
    assert found.min() < 0 < found.max()
    with pytest.raises(AssertionError):
        shifted = [MMD().discrepancy(a, b + 0.5) for a, b in zip(first, second, strict=True)]
        assert_mean(torch.stack(shifted), 0.0)


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("prior", ["StandardNormal", "FlowPrior-RealNVP", "GaussianMixture"])
def test_the_loss_is_the_formula(prior: str, num_particles: int) -> None:
    """Draws of a prior that are reparameterised carry a gradient, others none."""
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
