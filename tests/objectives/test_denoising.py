from __future__ import annotations

import math
from functools import partial
from typing import Any

import pyro.infer
import pytest
import scipy.stats
import torch
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import Tensor

from pyrovae import Recipe, Trainer
from pyrovae.objectives import (
    GECO,
    IWAE,
    Capacity,
    Corruption,
    Denoising,
    GaussianNoise,
    Progress,
    SaltAndPepper,
)
from tests.support.objectives import assert_is, double_images, double_vae, draw
from tests.support.oracles import Quadrature, assert_mean, one_dimensional_vae
from tests.support.small import small_data
from tests.support.tables import FALSE_ALARM, make_vae


class Negative(Corruption):
    def __call__(self, x: Tensor) -> Tensor:
        return 1 - x


BOUNDS: dict[str, pyro.infer.ELBO] = {
    "Trace_ELBO": Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    "IWAE": IWAE(3),
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_guide_sees_the_corrupted_image_and_the_model_the_clean_one(bound: str) -> None:
    vae, x = double_vae(), double_images()

    def formula() -> Tensor:
        log_weights = draw(vae, x, 3, seen=1 - x).log_weights
        if bound == "IWAE":
            return -(log_weights.logsumexp(0) - math.log(3)).sum()
        return -log_weights.mean(0).sum()

    assert_is(Denoising(Negative(), BOUNDS[bound]), vae, x, formula)


@pytest.mark.parametrize("corruption", [GaussianNoise(0.3), SaltAndPepper(0.4)])
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
def test_all_particles_of_a_step_see_the_same(corruption: Corruption, vectorize: bool) -> None:
    vae, x = double_vae(), double_images()
    seen: list[Tensor] = []
    vae.guide.encoder.register_forward_hook(lambda module, inputs, h: seen.append(inputs[0]))
    objective = Denoising(corruption, IWAE(4, vectorize_particles=vectorize))
    for _ in range(2):
        objective.loss(vae.model, vae.guide, x)
    per_step = len(seen) // 2
    assert per_step == (1 if vectorize else 4)
    assert all(torch.equal(one, seen[0]) for one in seen[:per_step])
    assert not torch.equal(seen[0], seen[-1]) and not torch.equal(seen[0], x)


def test_normal_noise_has_its_scale() -> None:
    x = torch.rand(4, 3, 50, 50)
    noise = ((GaussianNoise(0.3)(x) - x) / 0.3).flatten()
    assert scipy.stats.kstest(noise.double().numpy(), "norm").pvalue > FALSE_ALARM


def test_salt_and_pepper_hit_as_often_as_said() -> None:
    x = torch.full((4, 3, 50, 50), 0.5)
    y = SaltAndPepper(0.3)(x)
    counts = [int((y == value).sum()) for value in (0.0, 1.0, 0.5)]
    assert sum(counts) == x.numel()
    expected = [0.15 * x.numel(), 0.15 * x.numel(), 0.7 * x.numel()]
    assert scipy.stats.chisquare(counts, expected).pvalue > FALSE_ALARM
    assert set(SaltAndPepper(1.0)(x).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("corruption", [GaussianNoise(0.3), SaltAndPepper(0.4)])
def test_corruptions_keep_the_images_and_their_type(corruption: Corruption) -> None:
    x = torch.rand(2, 4, 3, 5, 5, dtype=torch.float64)
    kept = x.clone()
    y = corruption(x)
    assert torch.equal(x, kept) and y.shape == x.shape and y.dtype == x.dtype


@pytest.mark.slow
@torch.no_grad()
def test_the_expected_loss_is_that_of_every_corruption() -> None:
    """Salt and pepper on two pixels leave nine images, each an ELBO by quadrature."""
    vae, x = one_dimensional_vae(), torch.tensor([0.2, 0.7], dtype=torch.float64)
    x = x.reshape(1, 1, 1, 2)
    expected = 0.0
    for first in (None, 0.0, 1.0):
        for second in (None, 0.0, 1.0):
            seen, chance = x.clone(), 1.0
            for i, value in enumerate((first, second)):
                chance *= 0.6 if value is None else 0.2
                if value is not None:
                    seen[..., i] = value
            exact = Quadrature(vae, x, seen)
            expected += chance * (exact.rate + exact.distortion)
    objective = Denoising(SaltAndPepper(0.4), Trace_ELBO())
    many = x.expand(500, 1, 1, 2)
    losses = [objective.loss(vae.model, vae.guide, many) / 500 for _ in range(60)]
    assert_mean(torch.tensor(losses, dtype=torch.float64), expected)


@pytest.mark.parametrize("bound", [Trace_ELBO(), RenyiELBO(0.5, 3), IWAE(3), GECO(-1.5)])
def test_any_bound_can_be_inside(bound: pyro.infer.ELBO) -> None:
    vae, x = double_vae(), double_images()
    objective = Denoising(GaussianNoise(0.1), bound)
    loss = objective.loss_and_grads(vae.model, vae.guide, x)
    assert math.isfinite(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


def test_what_the_bound_knows_and_hears_passes_through() -> None:
    inner: Any = GECO(-1.5, speed=0.5)
    objective = Denoising(GaussianNoise(0.1), inner)
    vae, x = double_vae(), double_images()
    objective.loss_and_grads(vae.model, vae.guide, x)
    assert objective.rate_and_distortion is inner.rate_and_distortion is not None
    assert objective.state is inner.state and inner.state["log_multiplier"] != 0
    capacity = Capacity(20.0)
    Denoising(GaussianNoise(0.1), capacity).begin_step(Progress(24, 100, 10))
    assert capacity.target == pytest.approx(10.0)
    assert Denoising(GaussianNoise(0.1), Trace_ELBO()).rate_and_distortion is None


def test_the_programs_inputs_pass_through() -> None:
    """Whatever else the programs take reaches the guide beside the image."""
    vae, x = double_vae(), double_images()
    objective = Denoising(Negative(), Trace_ELBO())
    torch.manual_seed(3)
    expected = objective.loss(vae.model, vae.guide, x)
    torch.manual_seed(3)
    assert objective.loss(vae.model, vae.guide, x, num_images=7) == expected


@pytest.mark.slow
def test_validation_sees_clean_images() -> None:
    """Where nothing is learned, heavy noise changes the training's loss and no validation."""
    objective = Denoising(GaussianNoise(100.0), IWAE(1))
    found = []
    for chosen in (Trace_ELBO(), objective):
        torch.manual_seed(0)
        vae = make_vae(shape=(3, 16, 16))
        recipe = Recipe(partial(torch.optim.SGD, lr=1e-30), objective=chosen)
        found.append(Trainer(epochs=1, batch_size=16).fit(vae, small_data(), recipe).state.best)
    assert found[0] == found[1]
