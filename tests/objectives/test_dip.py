"""DIP: its penalty for draws of a known covariance, and its loss as a formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyrovae.objectives import DIP
from tests.support.objectives import assert_is, double_images, double_vae, draw
from tests.support.oracles import assert_mean


def in_loops(z: Tensor, off_diagonal: float, diagonal: float) -> float:
    """The penalty, one pair of dimensions at a time."""
    covariance, total = z.T.cov(), 0.0
    for i, row in enumerate(covariance):
        for j, value in enumerate(row):
            total += diagonal * (value - 1) ** 2 if i == j else off_diagonal * value**2
    return float(total)


def test_the_penalty_is_that_of_the_covariance() -> None:
    z = torch.randn(3, 7, 4, dtype=torch.float64)
    found = DIP(3.0, 0.5).penalty(z)
    assert found.item() == pytest.approx(sum(in_loops(own, 3.0, 0.5) for own in z) / 3)


def test_the_penalty_of_a_normal_has_a_closed_form() -> None:
    """E[C_ij^2] = S_ij^2 + (S_ij^2 + S_ii S_jj) / (B - 1) for draws of N(0, S)."""
    made = torch.tensor([[1.2, 0.6], [0.6, 0.5]], dtype=torch.float64)
    z = torch.distributions.MultivariateNormal(torch.zeros(2).double(), made).sample((4000, 20))
    noise = (made**2 + made.diagonal().outer(made.diagonal())) / 19
    off = 2 * (made[0, 1] ** 2 + noise[0, 1])
    apart = ((made.diagonal() - 1) ** 2 + noise.diagonal()).sum()
    found = torch.stack([DIP(2.0, 3.0).penalty(own) for own in z])
    assert_mean(found, float(2 * off + 3 * apart))


@pytest.mark.parametrize("num_particles", [1, 3])
def test_the_loss_is_the_formula(num_particles: int) -> None:
    vae, x = double_vae(), double_images(5)

    def formula() -> Tensor:
        draws = draw(vae, x, num_particles)
        penalty = sum(DIP(4.0, 2.0).penalty(z) for z in draws.z) / num_particles
        return -draws.log_weights.mean(0).sum() + len(x) * penalty

    assert_is(DIP(4.0, 2.0, num_particles=num_particles), vae, x, formula)
