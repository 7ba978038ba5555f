"""Steps of SVI: against a hand-written loop, with bad numbers, and with any optimiser."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.optim import SGD, Adam

from pyrovae import SVI, GroupedOptimizer
from pyrovae.networks import Decoder, Encoder
from pyrovae.objectives.base import loss_per_image
from pyrovae.programs.vae import VAE
from pyrovae.training.svi import first_bad_site
from tests.support.optimizers import OPTIMIZERS, svi_of
from tests.support.tables import (
    IMAGE_SHAPE,
    LIKELIHOODS,
    OBJECTIVES,
    changed,
    make_images,
    make_vae,
    snapshot,
)

quiet_about_nan = pytest.mark.filterwarnings("ignore:Encountered (NaN|inf)")


def hand_written(vae: VAE, x: Tensor, steps: int) -> list[float]:
    """The loop that a user of torch alone would write."""
    optimizer, losses = Adam(vae.parameters(), lr=1e-2), []
    for _ in range(steps):
        q = vae.guide.posterior(vae.guide.encoder(x))
        z = q.rsample()
        log_p_x = vae.likelihood(vae.model.decoder(z)).log_prob(x)
        loss = -(log_p_x + vae.model.prior().log_prob(z) - q.log_prob(z)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("networks", ["MLP", "Conv-shortcut"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_steps_equal_a_hand_written_loop(networks: str, likelihood: str) -> None:
    vae = make_vae(likelihood, networks=networks).double()
    x = vae.observe(make_images(vae.likelihood, 6)).double()
    other = copy.deepcopy(vae)
    torch.manual_seed(5)
    expected = hand_written(other, x, 8)
    torch.manual_seed(5)
    svi, _ = svi_of(vae)
    assert [svi.step(x) for _ in range(8)] == pytest.approx(expected, rel=1e-9)
    for (name, found), wanted in zip(vae.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-7, atol=1e-9), name


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_steps_take_any_objective(objective: str) -> None:
    vae, x = make_vae(), torch.rand(6, *IMAGE_SHAPE)
    optimizer = GroupedOptimizer(OPTIMIZERS["Adam"])
    elbo = OBJECTIVES[objective](num_particles=2)
    svi = SVI(vae.model, vae.guide, optimizer, elbo)
    losses = [svi.step(x) for _ in range(40)]
    assert sum(losses[-5:]) < sum(losses[:5]) and not svi.skipped


@pytest.mark.slow
def test_steps_take_stock_optimisers_and_stock_svi_takes_ours() -> None:
    x = torch.rand(6, *IMAGE_SHAPE)
    for kind, optimizer in (
        (SVI, pyro.optim.Adam({"lr": 1e-2})),
        (pyro.infer.SVI, GroupedOptimizer(OPTIMIZERS["Adam"])),
    ):
        vae = make_vae()
        svi = kind(vae.model, vae.guide, optimizer, loss=Trace_ELBO())
        losses = [svi.step(x) for _ in range(40)]
        assert sum(losses[-5:]) < sum(losses[:5])


def test_the_loss_is_per_image_whatever_the_batch() -> None:
    vae = make_vae().double()
    x = torch.rand(6, *IMAGE_SHAPE, dtype=torch.float64)
    torch.manual_seed(5)
    whole = Trace_ELBO().loss(vae.model, vae.guide, x)
    torch.manual_seed(5)
    assert svi_of(vae)[0].step(x) == pytest.approx(whole / 6)


@pytest.mark.parametrize(
    ("loss", "mean"), [(6.0, 1.5), (torch.tensor(6.0), 1.5), ((2.0, torch.tensor(4.0)), 1.5)]
)
def test_loss_per_image_of_any_loss(loss: Any, mean: float) -> None:
    assert float(loss_per_image(loss, 4, torch.device("cpu"))) == pytest.approx(mean)


def moved_by_sgd(clip_norm: float | None, batch: int = 6) -> Tensor:
    """The gradient of one step, flat: what SGD of rate 1 subtracts."""
    torch.manual_seed(2)
    vae = make_vae().double()
    x = torch.rand(1, *IMAGE_SHAPE, dtype=torch.float64).expand(batch, -1, -1, -1)
    vae.guide.posterior.forward = lambda h: dist.Delta(h[..., :3], event_dim=1)
    before = nn.utils.parameters_to_vector(vae.parameters()).detach().clone()
    svi_of(vae, partial(SGD, lr=1.0), clip_norm)[0].step(x)
    return before - nn.utils.parameters_to_vector(vae.parameters()).detach()


def test_clip_norm_is_the_global_norm_of_the_gradient_per_image() -> None:
    gradient = moved_by_sgd(None)
    norm = gradient.norm().item()
    assert torch.allclose(moved_by_sgd(None, batch=12), gradient)
    assert torch.allclose(moved_by_sgd(1.01 * norm), gradient)
    clipped = moved_by_sgd(0.25 * norm)
    assert clipped.norm().item() == pytest.approx(0.25 * norm, rel=1e-4)
    assert torch.allclose(clipped / clipped.norm(), gradient / norm, atol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan])
def test_impossible_clip_norms_are_refused(clip_norm: float) -> None:
    with pytest.raises(ValueError, match=f"positive or null, got {clip_norm}$"):
        GroupedOptimizer(OPTIMIZERS["Adam"], clip_norm)


class Lever(Decoder):
    """Maps that pass through a function of one more parameter."""

    def __init__(self, function: Callable[[Tensor], Tensor], value: float) -> None:
        super().__init__()
        self.function = function
        self.lever = nn.Parameter(torch.tensor(value))
        self.norm = nn.BatchNorm1d(3)

    def forward(self, z: Tensor) -> Tensor:
        maps = self.norm(z).mean(-1) + self.function(self.lever)
        return maps[:, None, None, None].expand(-1, *IMAGE_SHAPE)


def whole_state(vae: VAE, optimizer: GroupedOptimizer) -> dict[str, Tensor]:
    state = {name: value.clone() for name, value in optimizer.state_tensors().items()}
    return snapshot(vae) | state


@quiet_about_nan
@pytest.mark.parametrize("factory", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_batch_that_is_not_finite_changes_nothing(factory: Any, bad: float) -> None:
    vae, x = make_vae("SharedScaleNormal", networks="Conv-shortcut"), torch.rand(6, *IMAGE_SHAPE)
    svi, optimizer = svi_of(vae, factory)
    with pyro.validation_enabled(False):
        assert math.isfinite(svi.step(x)) and not svi.skipped
        before = whole_state(vae, optimizer)
        assert not math.isfinite(svi.step(x.masked_fill(x > 0.9, bad))) and svi.skipped
        assert not changed(whole_state(vae, optimizer), before)
        assert all(p.grad is None or not p.grad.any() for p in vae.parameters())
        assert math.isfinite(svi.step(x)) and not svi.skipped
    assert changed(snapshot(vae), {name: before[name] for name in snapshot(vae)})


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    vae, x = make_vae(), torch.rand(6, *IMAGE_SHAPE)
    vae.model.decoder = Lever(torch.sqrt, 0.0)
    svi, _ = svi_of(vae)
    before = snapshot(vae)
    assert math.isfinite(svi.step(x)) and svi.skipped
    assert not changed(snapshot(vae), before)


@quiet_about_nan
def test_buffers_that_moved_since_are_restored_too() -> None:
    vae = make_vae(networks="Conv")
    svi, _ = svi_of(vae)
    vae.double()
    before = snapshot(vae)
    with pyro.validation_enabled(False):
        svi.step(torch.full((6, *IMAGE_SHAPE), math.nan, dtype=torch.float64))
    assert svi.skipped and not changed(snapshot(vae), before)


class NaNEncoder(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 6), math.nan)


@quiet_about_nan
def test_the_first_site_that_is_not_finite_is_named() -> None:
    x = torch.rand(6, *IMAGE_SHAPE)
    vae = make_vae()
    assert first_bad_site(vae.model, vae.guide, x) == "the gradient, while all sites are finite"
    found = first_bad_site(vae.model, vae.guide, x.masked_fill(x > 0.5, math.nan))
    assert found == "the value of site 'z' in the guide"
    vae.model.decoder = Lever(torch.log, 0.0)
    assert first_bad_site(vae.model, vae.guide, x) == "the log density of site 'x' in the model"
    vae.guide.encoder = NaNEncoder()
    assert first_bad_site(vae.model, vae.guide, x) == "the value of site 'z' in the guide"


@quiet_about_nan
def test_an_image_that_is_not_finite_is_named_where_the_guide_does_not_look() -> None:
    vae, x = make_vae(), torch.rand(6, *IMAGE_SHAPE)
    bad = x.masked_fill(x > 0.5, math.nan)
    found = first_bad_site(vae.model, lambda _: vae.guide(x), bad)
    assert found == "the value of site 'x' in the model"


def named_parameters(seed: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Parameters of many shapes and layouts, in the store under names "a" to "d"."""
    torch.manual_seed(seed)
    for name, shape in {"c": (4, 3, 3, 3), "a": (5,), "d": (), "b": (2, 3)}.items():
        pyro.param(name, torch.randn(shape, dtype=dtype))
    parameters = [pyro.param(name).unconstrained() for name in "abcd"]
    parameters[2].data = parameters[2].data.contiguous(memory_format=torch.channels_last)
    return parameters


def steps(optimizer: GroupedOptimizer, parameters: list[Tensor], first: int, last: int) -> None:
    for step in range(first, last):
        torch.manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer(parameters)


@pytest.mark.parametrize("factory", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_optimiser_goes_on_from_its_state_bit_for_bit(factory: Any, dtype: torch.dtype) -> None:
    parameters, optimizer = named_parameters(dtype=dtype), GroupedOptimizer(factory)
    steps(optimizer, parameters, 0, 3)
    state = {name: value.clone().contiguous() for name, value in optimizer.state_tensors().items()}
    values = [parameter.detach().clone() for parameter in parameters]
    steps(optimizer, parameters, 3, 6)
    with pyro.get_param_store().scope():
        fresh, other = named_parameters(9, dtype), GroupedOptimizer(factory)
        other.register(fresh)
        for parameter, value in zip(fresh, values, strict=True):
            parameter.data.copy_(value)
        other.load_state_tensors(state)
        assert not changed(other.state_tensors(), state)
        steps(other, fresh, 3, 6)
        assert not changed(other.state_tensors(), optimizer.state_tensors())
    for found, expected in zip(fresh, parameters, strict=True):
        assert torch.equal(found, expected)


def test_without_its_state_an_optimiser_would_go_elsewhere() -> None:
    parameters, optimizer = named_parameters(), GroupedOptimizer(OPTIMIZERS["Adam"])
    steps(optimizer, parameters, 0, 3)
    others = [parameter.detach().clone() for parameter in parameters]
    steps(optimizer, parameters, 3, 6)
    with pyro.get_param_store().scope():
        fresh = named_parameters()
        for parameter, value in zip(fresh, others, strict=True):
            parameter.data.copy_(value)
        steps(GroupedOptimizer(OPTIMIZERS["Adam"]), fresh, 3, 6)
    assert not torch.allclose(fresh[0], parameters[0])


def test_parameters_are_in_the_order_of_their_names() -> None:
    parameters = named_parameters()
    for seed in range(5):
        shuffled = random.Random(seed).sample(parameters, 4)
        optimizer = GroupedOptimizer(OPTIMIZERS["Adam"])
        optimizer.register(shuffled)
        optimizer.register(set(shuffled))
        assert [id(p) for p in optimizer.parameters()] == [id(p) for p in parameters]


def test_parameters_that_come_later_are_trained_too() -> None:
    parameters, optimizer = named_parameters(), GroupedOptimizer(OPTIMIZERS["Adam"])
    steps(optimizer, parameters[:2], 0, 1)
    before = parameters[3].detach().clone()
    steps(optimizer, parameters, 1, 2)
    assert len(optimizer.parameters()) == 4 and not torch.equal(parameters[3], before)


def test_the_learning_rate_is_a_multiple_of_the_chosen_one() -> None:
    parameters, optimizer = named_parameters(), GroupedOptimizer(partial(SGD, lr=0.5))
    optimizer.register(parameters)
    for factor in (0.5, 0.5, 1.0, 0.0):
        assert optimizer.scale_learning_rate(factor) == 0.5 * factor
        before = parameters[0].detach().clone()
        parameters[0].grad = torch.ones(5)
        optimizer(parameters)
        assert torch.allclose(before - parameters[0], torch.tensor(0.5 * factor))


class NotFinite(pyro.infer.Trace_ELBO):
    """A bound whose first loss is no number."""

    steps = 0

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().loss_and_grads(model, guide, *args, **kwargs)
        self.steps += 1
        return loss * math.nan if self.steps == 1 else loss


@quiet_about_nan
@pytest.mark.parametrize("factory", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_first_step_that_is_not_finite_leaves_no_trace(factory: Any) -> None:
    x = torch.rand(6, *IMAGE_SHAPE)
    found = []
    for objective in (NotFinite(), pyro.infer.Trace_ELBO()):
        torch.manual_seed(0)
        vae = make_vae()
        svi = SVI(vae.model, vae.guide, GroupedOptimizer(factory), objective)
        if isinstance(objective, NotFinite):
            svi.step(x)
            assert svi.skipped
        for seed in (1, 2):
            torch.manual_seed(seed)
            svi.step(x)
        found.append([p.detach().clone() for p in vae.parameters()])
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


class OwnAdam(Adam):
    """A class derived from one that can be fused."""

    def __init__(self, params: Any, lr: float = 1e-2) -> None:
        super().__init__(params, lr=lr)


@pytest.mark.slow
def test_an_optimiser_of_ones_own_trains() -> None:
    x, vae = torch.rand(6, *IMAGE_SHAPE), make_vae()
    svi = SVI(vae.model, vae.guide, GroupedOptimizer(OwnAdam), pyro.infer.Trace_ELBO())
    losses = [svi.step(x) for _ in range(40)]
    assert sum(losses[-5:]) < sum(losses[:5])
