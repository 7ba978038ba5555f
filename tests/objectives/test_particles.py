"""What all objectives of the package have in common, with any number of particles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from pyro import infer
from torch import Tensor

from pyrovae.objectives import (
    DIP,
    GECO,
    IWAE,
    MMD,
    BetaTC,
    Capacity,
    Corruption,
    Denoising,
    DReG,
    FreeBits,
    LatentRate,
    PerImageELBO,
    ScaleLatents,
    StickingTheLanding,
)
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.programs.vae import VAE
from tests.support.objectives import (
    OBJECTIVES,
    MakeObjective,
    assert_equal,
    double_images,
    double_vae,
    gradients,
)
from tests.support.programs import two_latents
from tests.support.tables import concrete_classes, make_vae

Restart = Callable[[], None]
Terms = tuple[float, list[Tensor]]

every_objective = pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES.keys())

#: Bounds that are sums over the images, those of Pyro for comparison.
PER_IMAGE: dict[str, MakeObjective] = {
    "Trace_ELBO": partial(infer.Trace_ELBO, max_plate_nesting=1),
    "RenyiELBO": partial(infer.RenyiELBO, max_plate_nesting=1),
    "IWAE": IWAE,
    "DReG": DReG,
    "StickingTheLanding": StickingTheLanding,
}


class Untouched(Corruption):
    def __call__(self, x: Tensor) -> Tensor:
        return x


#: Settings at which an objective is the ELBO.
NEUTRAL: dict[str, MakeObjective] = {
    "IWAE": partial(IWAE, 1),
    "Capacity": partial(Capacity, 0.0, gamma=1.0),
    "GECO": partial(GECO, target=0.0),
    "BetaTC": partial(BetaTC, 1.0, 1.0, 1.0),
    "DIP": partial(DIP, 0.0, 0.0),
    "MMD": partial(MMD, 0.0, 1.0),
    "Denoising": lambda: Denoising(Untouched(), infer.Trace_ELBO()),
}


def run(elbo: Any, programs: ModelGuidePair, x: Tensor) -> Terms:
    loss = elbo.differentiable_loss(programs.model, programs.guide, x)
    return loss.item(), gradients(loss, programs)


def test_every_objective_of_the_package_is_tested() -> None:
    tested = {getattr(make, "func", make) for make in OBJECTIVES.values()} | {Denoising}
    missing = {kind.__name__ for kind in concrete_classes(infer.ELBO) - tested}
    assert not missing, f"add {missing} to tests/support/objectives.py"


@every_objective
@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_particles_in_turn_and_at_once_are_the_same(
    make: MakeObjective, num_particles: int, beta: float, script: Restart
) -> None:
    """Value, gradients and what is measured, at the same draws."""
    vae, x = double_vae(), double_images()
    found, measured = [], []
    for vectorize in (False, True):
        elbo = make(num_particles=num_particles, vectorize_particles=vectorize)
        script()
        with ScaleLatents(beta):
            found.append(run(elbo, vae, x))
        measured.append(elbo.rate_and_distortion)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    assert_equal(found[0][1], found[1][1])
    if measured[0] is not None:
        assert torch.allclose(torch.stack(measured[0]), torch.stack(measured[1]))


@pytest.mark.parametrize("make", PER_IMAGE.values(), ids=PER_IMAGE.keys())
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
def test_a_bound_of_a_batch_is_the_sum_of_its_images(
    make: MakeObjective, vectorize: bool, script: Restart
) -> None:
    vae, x = double_vae(), double_images(5)
    elbo = make(num_particles=3, vectorize_particles=vectorize)

    def of(images: Tensor) -> Terms:
        script()
        vae.zero_grad()
        loss = elbo.loss_and_grads(vae.model, vae.guide, images)
        return loss, [p.grad.clone() for p in vae.parameters()]

    whole, *single = (of(images) for images in (x, *x.split(1)))
    assert whole[0] == pytest.approx(sum(loss for loss, _ in single), rel=1e-10)
    sums = [torch.stack(grads).sum(0) for grads in zip(*(g for _, g in single), strict=True)]
    assert_equal(whole[1], sums)


def test_a_bound_of_whole_batches_is_no_sum(script: Restart) -> None:
    """What the test above catches: Pyro's wake-sleep has one weight a batch."""
    vae, x = double_vae(), double_images(5)
    elbo = infer.ReweightedWakeSleep(num_particles=3, max_plate_nesting=1)
    losses = []
    for images in (x, *x.split(1)):
        script()
        losses.append(elbo.loss(vae.model, vae.guide, images)[0].item())
    assert abs(losses[0] - sum(losses[1:])) > 1e-3


@every_objective
@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
def test_all_ways_to_a_loss_agree(make: MakeObjective, vectorize: bool) -> None:
    vae, x = double_vae(), double_images()

    def seeded(name: str) -> Any:
        torch.manual_seed(3)
        elbo = make(num_particles=2, vectorize_particles=vectorize)
        return getattr(elbo, name)(vae.model, vae.guide, x)

    differentiable = seeded("differentiable_loss")
    assert differentiable.shape == () and differentiable.requires_grad
    assert isinstance(seeded("loss"), float) and not any(
        p.grad is not None for p in vae.parameters()
    )
    for _ in range(2):
        assert seeded("loss_and_grads") == pytest.approx(seeded("loss"), rel=1e-12)
    assert differentiable.item() == pytest.approx(seeded("loss"), rel=1e-12)
    summed = [torch.zeros_like(p) if p.grad is None else p.grad for p in vae.parameters()]
    assert_equal(summed, [2 * grad for grad in gradients(differentiable, vae)])


@every_objective
@pytest.mark.parametrize("num_particles", [1, 3])
def test_an_elbo_module_finds_and_trains_every_parameter(
    make: MakeObjective, num_particles: int
) -> None:
    vae, x = double_vae(), double_images(8)
    elbo = make(num_particles=num_particles)(vae.model, vae.guide)
    assert {id(p) for p in elbo.parameters()} == {id(p) for p in vae.parameters()}
    optimizer, losses = torch.optim.Adam(elbo.parameters(), lr=1e-2), []
    before = [p.clone() for p in vae.parameters()]
    for _ in range(3):
        loss = elbo(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(math.isfinite(loss) for loss in losses)
    assert not any(torch.equal(p, b) for p, b in zip(vae.parameters(), before, strict=True))


@pytest.mark.slow
@every_objective
def test_stock_svi_takes_it(make: MakeObjective) -> None:
    vae, x = make_vae("SharedScaleNormal"), double_images(8).float()
    optimizer, elbo = pyro.optim.Adam({"lr": 2e-2}), infer.Trace_ELBO(num_particles=10)
    svi = pyro.infer.SVI(vae.model, vae.guide, optimizer, make(num_particles=2))
    before = elbo.loss(vae.model, vae.guide, x)
    for _ in range(20):
        assert math.isfinite(svi.step(x))
    assert elbo.loss(vae.model, vae.guide, x) < before - 50
    assert math.isfinite(svi.evaluate_loss(x))


@every_objective
def test_a_used_objective_can_be_copied(make: MakeObjective) -> None:
    vae, x = double_vae(), double_images()
    elbo = make(num_particles=2)
    run(elbo, vae, x)
    copied = copy.deepcopy(elbo)
    found = []
    for one in (elbo, copied):
        torch.manual_seed(3)
        found.append(run(one, vae, x)[0])
    assert found[0] == found[1] and type(copied) is type(elbo)
    if isinstance(copied, PerImageELBO):
        assert (
            copied.rate_and_distortion is not None
            and not copied.rate_and_distortion[0].requires_grad
        )


@every_objective
def test_types_follow_the_programs(make: MakeObjective) -> None:
    vae, x = make_vae("SharedScaleNormal"), double_images().float()
    loss = make(num_particles=2).differentiable_loss(vae.model, vae.guide, x)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in vae.parameters())


@pytest.mark.parametrize("make", NEUTRAL.values(), ids=NEUTRAL.keys())
@pytest.mark.parametrize("of", [double_vae, lambda: two_latents().double()], ids=["one", "two"])
def test_neutral_settings_are_the_elbo(
    make: MakeObjective, of: Callable[[], ModelGuidePair]
) -> None:
    """Also of programs with two latent sites, one of which depends on the other."""
    programs = of()
    shape = (3, 6, 5) if isinstance(programs, VAE) else (3, 16, 16)
    x, found = torch.rand(4, *shape, dtype=torch.float64), []
    with ScaleLatents(0.7):
        for elbo in (make(), infer.Trace_ELBO()):
            torch.manual_seed(3)
            found.append(run(elbo, programs, x))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_two_latent_sites(make: MakeObjective, script: Restart) -> None:
    """All but the path gradients take them, particles in turn and at once alike."""
    programs, x = two_latents().double(), torch.rand(4, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():  # The rate of each site is above every threshold.
        programs.guide.first.bias.fill_(9.0)
    found: list[Terms] = []
    for vectorize in (False, True):
        elbo = make(num_particles=1, vectorize_particles=vectorize)
        if isinstance(elbo, (DReG, StickingTheLanding)):
            with pytest.raises(ValueError, match="need one latent site, the guide has z1, z2$"):
                run(elbo, programs, x)
            return
        script()
        found.append(run(elbo, programs, x))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    assert_equal(found[0][1], found[1][1])
    assert all((grad != 0).any() for grad in found[0][1])


def test_free_bits_add_up_over_sites() -> None:
    """Far above every rate each dimension of each site costs the threshold."""
    programs, x = two_latents().double(), torch.rand(4, 3, 16, 16, dtype=torch.float64)
    elbo = FreeBits(1e4)
    with LatentRate() as latent:
        loss = elbo.loss(programs.model, programs.guide, x)
    assert elbo.rate_and_distortion is not None
    rate, distortion = (value.item() for value in elbo.rate_and_distortion)
    assert loss / len(x) == pytest.approx(distortion + 5e4)
    assert latent.per_image() == pytest.approx(rate)
