"""Which of Pyro's own objectives fit, and what the others do."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro.contrib.gp.kernels as kernels
import pytest
import torch
from pyro import infer
from pyro.infer.discrete import TraceEnumSample_ELBO
from pyro.infer.trace_mmd import Trace_MMD
from pyro.infer.trace_tail_adaptive_elbo import TraceTailAdaptive_ELBO
from torch import Tensor

from pyrovae import SVI, Denoising, GroupedOptimizer, InputError, Recipe, RunDirectory, Trainer
from pyrovae.objectives import STOCK, UNFIT, LatentRate, ScaleLatents
from pyrovae.programs.vae import VAE
from tests.support.objectives import assert_equal, double_images, double_vae
from tests.support.small import small_data, small_vae
from tests.support.tables import LATENT_DIM

Make = Callable[..., Any]

#: Those that are bounds of each image, with beta as their weight of the latent sites.
FITS: dict[str, Make] = {
    "Trace_ELBO": infer.Trace_ELBO,
    "TraceMeanField_ELBO": infer.TraceMeanField_ELBO,
    "TraceGraph_ELBO": infer.TraceGraph_ELBO,
    "RenyiELBO": infer.RenyiELBO,
    "TraceEnum_ELBO": partial(infer.TraceEnum_ELBO, strict_enumeration_warning=False),
    "TraceEnumSample_ELBO": partial(TraceEnumSample_ELBO, strict_enumeration_warning=False),
    "TraceTMC_ELBO": partial(infer.TraceTMC_ELBO, strict_enumeration_warning=False),
}

#: Those that would train something else than they say, which the trainer refuses.
REFUSED: dict[str, Make] = {
    "ReweightedWakeSleep": infer.ReweightedWakeSleep,
    "Trace_MMD": partial(Trace_MMD, kernels.RBF(LATENT_DIM)),
    "JitTrace_ELBO": infer.JitTrace_ELBO,
    "JitTraceGraph_ELBO": infer.JitTraceGraph_ELBO,
    "JitTraceEnum_ELBO": partial(infer.JitTraceEnum_ELBO, strict_enumeration_warning=False),
    "JitTraceMeanField_ELBO": infer.JitTraceMeanField_ELBO,
    "TraceTailAdaptive_ELBO": partial(
        TraceTailAdaptive_ELBO, num_particles=2, vectorize_particles=True
    ),
}

JIT = [name for name in REFUSED if name.startswith("Jit")]
quiet_about_tracing = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.trace:FutureWarning",
    "ignore::torch.jit.TracerWarning",
    "ignore:Cannot memoize:UserWarning",
)


def stock_classes() -> set[str]:
    """The names of all ELBOs in `pyro.infer` that can be made."""
    for module in pkgutil.walk_packages(infer.__path__, "pyro.infer."):
        importlib.import_module(module.name)
    found, waiting = set(), [infer.ELBO]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("pyro.infer.") and kind is not infer.ELBO:
            found.add(kind.__name__)
    return found


def test_every_elbo_of_pyro_is_known() -> None:
    known = [*FITS, *REFUSED]
    assert stock_classes() == set(known), "sort the new ones into a table of this file"
    assert len(known) == len(set(known)) and set(REFUSED) == set(UNFIT)
    assert set(STOCK) <= set(FITS)


def svi_of(vae: VAE, elbo: Any, lr: float = 0.0) -> SVI:
    return SVI(vae.model, vae.guide, GroupedOptimizer(partial(torch.optim.Adam, lr=lr)), elbo)


def steps_at(betas: list[float], elbo: Any, vae: VAE, x: Tensor) -> list[float]:
    """The losses of steps that move nothing, at the same draws."""
    svi, losses = svi_of(vae, elbo), []
    for beta in betas:
        torch.manual_seed(3)
        with ScaleLatents(beta):
            losses.append(svi.step(x))
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("num_particles", [1, 3])
def test_those_that_fit_are_sums_over_images_weighed_by_beta(
    name: str, num_particles: int, script: Callable[[], None]
) -> None:
    vae, x = double_vae(), double_images(5)
    elbo = FITS[name](num_particles=num_particles, max_plate_nesting=1)
    found = []
    for images in (x, *x.split(1)):
        script()
        vae.zero_grad()
        with ScaleLatents(0.4):
            loss = elbo.loss_and_grads(vae.model, vae.guide, images)
        found.append((float(loss), [p.grad.clone() for p in vae.parameters()]))
    (loss, grads), *single = found
    assert loss == pytest.approx(sum(part for part, _ in single), rel=1e-9)
    assert_equal(grads, [torch.stack(g).sum(0) for g in zip(*(g for _, g in single), strict=True)])
    script()
    zero, one, four = (elbo_at(beta, elbo, vae, x, script) for beta in (0.0, 1.0, 4.0))
    if name == "RenyiELBO":
        assert zero != one != four
    else:
        assert four - one == pytest.approx(3 * (one - zero), rel=1e-9) and one != zero


def elbo_at(beta: float, elbo: Any, vae: VAE, x: Tensor, script: Callable[[], None]) -> float:
    script()
    with ScaleLatents(beta):
        return float(elbo.loss(vae.model, vae.guide, x))


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
def test_those_that_fit_train(name: str) -> None:
    vae, x = double_vae(), double_images(8)
    svi = svi_of(vae, FITS[name](num_particles=2), lr=1e-2)
    before = [p.clone() for p in vae.parameters()]
    losses = [svi.step(x) for _ in range(30)]
    assert sum(losses[-5:]) < sum(losses[:5]) and not svi.skipped
    assert not any(torch.equal(p, b) for p, b in zip(vae.parameters(), before, strict=True))


@pytest.mark.parametrize("kind", [infer.TraceEnum_ELBO, TraceEnumSample_ELBO, infer.TraceTMC_ELBO])
def test_those_that_enumerate_warn_that_there_is_nothing_to_enumerate(kind: type) -> None:
    vae, x = double_vae(), double_images()
    with pytest.warns(UserWarning, match="no sample sites configured for enumeration"):
        kind(max_plate_nesting=1).loss(vae.model, vae.guide, x)


@pytest.mark.slow
@quiet_about_tracing
@pytest.mark.parametrize("name", sorted(set(JIT) - {"JitTraceMeanField_ELBO"}))
def test_compiled_ones_keep_the_first_beta_and_hide_the_rate(name: str) -> None:
    vae, x = double_vae(), double_images()
    elbo = REFUSED[name]()
    _, one, fifty = steps_at([1.0, 1.0, 50.0], elbo, vae, x)
    assert one == fifty
    with LatentRate() as latent:
        svi_of(vae, elbo).step(x)
    assert latent.per_image() == 0


@pytest.mark.slow
@quiet_about_tracing
def test_the_compiled_mean_field_follows_beta() -> None:
    vae, x = double_vae(), double_images()
    found = [
        steps_at([1.0, 50.0, 1.0], kind(max_plate_nesting=1), vae, x)
        for kind in (infer.TraceMeanField_ELBO, infer.JitTraceMeanField_ELBO)
    ]
    assert found[0][1] - found[0][0] == pytest.approx(found[1][1] - found[1][0], rel=1e-9)


def test_pyros_mmd_sees_the_first_image_alone_and_no_beta() -> None:
    """A kernel of D dimensions looks at the first D numbers of a whole batch."""
    vae, x = double_vae(), double_images().requires_grad_()

    def loss(scale: float, beta: float = 1.0) -> Tensor:
        torch.manual_seed(3)
        elbo = Trace_MMD(kernels.RBF(LATENT_DIM), scale, max_plate_nesting=1)
        with ScaleLatents(beta):
            return elbo.differentiable_loss(vae.model, vae.guide, x)

    (grad,) = torch.autograd.grad(loss(1e3) - loss(0.0), x)
    assert grad[0].abs().max() > 1e-3 and grad[1:].abs().max() < 1e-6
    assert loss(1e3, beta=4.0).item() == loss(1e3).item()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_those_that_mislead_are_refused_before_anything_is_written(
    name: str, wrapped: bool, tmp_path: Path
) -> None:
    elbo = Denoising(bound=REFUSED[name]()) if wrapped else REFUSED[name]()
    with pytest.raises(InputError, match=f"--objective: {name} .*; use ") as caught:
        Trainer(epochs=1, batch_size=16).fit(
            small_vae(), small_data(), Recipe(objective=elbo), run=RunDirectory(tmp_path / "run")
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
