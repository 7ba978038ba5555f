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
    (first, second), total = (
        (half.T.cov() for half in (z[: len(z) // 2 + 1], z[len(z) // 2 + 1 :])),
        0.0,
    )
    for i in range(len(first)):
        for j in range(len(first)):
            a, b = first[i, j], second[i, j]
            total += diagonal * (a - 1) * (b - 1) if i == j else off_diagonal * a * b
    return float(total)


def test_the_penalty_is_that_of_the_covariance() -> None:
    z = torch.randn(3, 7, 4, dtype=torch.float64)
    found = DIP(3.0, 0.5).penalty(z)
    assert found.item() == pytest.approx(sum(in_loops(own, 3.0, 0.5) for own in z) / 3)


def test_the_penalty_of_a_normal_has_a_closed_form() -> None:
    """It has no bias, also for batches of six images."""
    made = torch.tensor([[1.2, 0.6], [0.6, 0.5]], dtype=torch.float64)
    z = torch.distributions.MultivariateNormal(torch.zeros(2).double(), made).sample((4000, 6))
    apart = (made.diagonal() - 1).square().sum()
    found = torch.stack([DIP(2.0, 3.0).penalty(own) for own in z])
    assert_mean(found, float(2 * 2 * made[0, 1] ** 2 + 3 * apart))


@pytest.mark.parametrize("num_particles", [1, 3])
def test_the_loss_is_the_formula(num_particles: int) -> None:
    vae, x = double_vae(), double_images(5)

    def formula() -> Tensor:
        draws = draw(vae, x, num_particles)
        penalty = sum(DIP(4.0, 2.0).penalty(z) for z in draws.z) / num_particles
        return -draws.log_weights.mean(0).sum() + len(x) * penalty

    assert_is(DIP(4.0, 2.0, num_particles=num_particles), vae, x, formula)
