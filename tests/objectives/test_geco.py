from __future__ import annotations

import copy
import math
from functools import partial

import pyro
import pytest
import torch
from torch import Tensor

from pyrovae import SVI, GroupedOptimizer
from pyrovae.objectives import GECO
from pyrovae.programs.vae import VAE
from tests.support.objectives import assert_is, double_images, double_vae, draw

quiet_about_nan = pytest.mark.filterwarnings("ignore:Encountered (NaN|inf)")


def svi_of(vae: VAE, objective: GECO, lr: float = 0.0) -> SVI:
    optimizer = GroupedOptimizer(partial(torch.optim.SGD, lr=lr))
    return SVI(vae.model, vae.guide, optimizer, objective)


def multiplier(objective: GECO) -> float:
    return objective.state["log_multiplier"].exp().item()


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("log_multiplier", [0.0, -1.5])
def test_the_loss_is_the_formula(num_particles: int, log_multiplier: float) -> None:
    vae, x = double_vae(), double_images()
    objective = GECO(target=-0.7, num_particles=num_particles)
    objective.state["log_multiplier"] = torch.tensor(log_multiplier)

    def formula() -> Tensor:
        draws = draw(vae, x, num_particles)
        violation = -draws.log_x - -0.7 * x[0].numel()
        return (draws.rate + math.exp(log_multiplier) * violation).mean(0).sum()

    assert_is(objective, vae, x, formula)


def test_it_starts_as_the_elbo() -> None:
    vae, x = double_vae(), double_images()
    objective = GECO(target=-0.7)
    size = x.numel()
    assert_is(objective, vae, x, lambda: 0.7 * size - draw(vae, x, 1).log_weights.sum())


def test_the_multiplier_follows_the_moving_average_of_the_constraint() -> None:
    vae, x = double_vae(), double_images()
    objective = GECO(target=0.4, speed=0.3, memory=0.8)
    assert multiplier(objective) == 1.0
    average, log_multiplier = math.nan, 0.0
    for step in range(5):
        torch.manual_seed(step)
        violation = (-draw(vae, x, 1).log_x.mean() / x[0].numel() - 0.4).item()
        average = violation if step == 0 else 0.8 * average + 0.2 * violation
        log_multiplier += 0.3 * average
        torch.manual_seed(step)
        objective.differentiable_loss(vae.model, vae.guide, x)
        assert objective.state["average"].item() == pytest.approx(average)
        assert objective.state["log_multiplier"].item() == pytest.approx(log_multiplier)


@pytest.mark.parametrize(("target", "sign"), [(-2.0, 1), (3.0, -1)])
def test_the_multiplier_rises_while_the_constraint_is_violated(target: float, sign: int) -> None:
    vae, x = double_vae(), double_images()
    objective = GECO(target=target, speed=0.5)
    svi = svi_of(vae, objective)
    found = [multiplier(objective)]
    for _ in range(6):
        svi.step(x)
        found.append(multiplier(objective))
    assert found == sorted(found, reverse=sign < 0) and len(set(found)) == 7


def test_the_multiplier_has_bounds() -> None:
    vae, x = double_vae(), double_images()
    for target, bound in ((-2.0, 12.0), (30.0, -12.0)):
        objective = GECO(target=target, speed=1e3)
        for _ in range(3):
            svi_of(vae, objective).step(x)
        assert objective.state["log_multiplier"].item() == bound


def test_looking_at_the_loss_moves_nothing() -> None:
    vae, x = double_vae(), double_images()
    objective = GECO(-1.5, speed=0.5)
    svi = svi_of(vae, objective)
    svi.step(x)
    before = {name: value.clone() for name, value in objective.state.items()}
    svi.evaluate_loss(x)
    objective.loss(vae.model, vae.guide, x)
    with torch.no_grad():
        objective.differentiable_loss(vae.model, vae.guide, x)
    assert objective.state == before


@quiet_about_nan
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["distortion", "rate"])
def test_a_step_that_is_not_finite_leaves_no_trace(where: str, wrong: float) -> None:
    vae, x = double_vae(), double_images()
    objective = GECO(-1.5, speed=0.5)
    svi = svi_of(vae, objective)

    def bad_step() -> None:
        scale = vae.model.prior.scale
        if where == "rate":
            vae.model.prior.scale = scale * wrong
        svi.step(x * wrong if where == "distortion" else x)
        vae.model.prior.scale = scale
        assert svi.skipped

    with pyro.validation_enabled(False):
        bad_step()
        assert math.isnan(objective.state["average"]) and multiplier(objective) == 1.0
        svi.step(x)
        before = {name: value.clone() for name, value in objective.state.items()}
        bad_step()
        assert objective.state == before
        svi.step(x)
        assert not svi.skipped and objective.state != before


def test_a_state_that_is_put_back_goes_on_as_before() -> None:
    vae, x = double_vae(), double_images()
    first = GECO(-1.5, speed=0.5)
    svi_of(vae, first).step(x)
    saved = {name: value.clone() for name, value in first.state.items()}
    second = GECO(-1.5, speed=0.5)
    second.state.update(saved)
    copied = copy.deepcopy(first)
    found = []
    for objective in (first, second, copied):
        torch.manual_seed(5)
        loss = svi_of(vae, objective).step(x)
        found.append((loss, multiplier(objective), objective.state["average"].item()))
    assert found[0] == found[1] == found[2]


def test_a_copy_has_a_state_of_its_own() -> None:
    vae, x = double_vae(), double_images()
    objective = GECO(-1.5, speed=0.5)
    copied = copy.deepcopy(objective)
    svi_of(vae, objective).step(x)
    assert multiplier(copied) == 1.0 != multiplier(objective)


def trained(target: float) -> tuple[float, float]:
    """Rate, and distortion per pixel and channel, over the last third of a short run."""
    x, vae, found = double_images(16), double_vae(), []
    objective = GECO(target=target, speed=0.3, memory=0.0)
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=0.01))
    svi = SVI(vae.model, vae.guide, optimizer, objective)
    for _ in range(200):
        svi.step(x)
        assert objective.rate_and_distortion is not None
        found.append(torch.stack(objective.rate_and_distortion))
    rate, distortion = torch.stack(found[130:]).mean(0).tolist()
    return rate, distortion / x[0].numel()


@pytest.mark.slow
def test_training_meets_the_constraint_and_pays_no_rate_for_more() -> None:
    rate, distortion = trained(target=0.2)
    assert distortion == pytest.approx(0.2, abs=0.1)
    free_rate, free_distortion = trained(target=1.5)
    assert free_distortion < 1.5 and free_rate < 0.1 * rate


def test_a_step_whose_gradient_is_not_finite_leaves_the_multiplier_alone() -> None:
    vae, x = double_vae(), double_images()
    geco = GECO(-1.5, memory=0.5)
    svi = svi_of(vae, geco, lr=1e-6)
    svi.step(x)
    before = {name: value.clone() for name, value in geco.state.items()}
    handle = next(vae.parameters()).register_hook(lambda grad: grad * math.inf)
    assert math.isfinite(svi.step(x)) and svi.skipped
    assert geco.state == before
    handle.remove()
    svi.step(x)
    assert not svi.skipped and geco.state != before
