"""Nothing inside a step waits for the device."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pyro.infer
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyrovae import SVI, VAE, GroupedOptimizer
from pyrovae.objectives.device_losses import keeping_tensors
from tests.support.matrix import OBJECTIVES
from tests.support.tables import LIKELIHOODS, POSTERIORS, PRIORS, make_images, make_vae

#: Pyro's own that read numbers themselves.
WAITS = {"RenyiELBO"}


class Waits(TorchDispatchMode):
    """Counts the numbers that are read from tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def waits_of_a_step(vae: VAE, objective: pyro.infer.ELBO, **kwargs: Any) -> int:
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=10.0)
    svi = SVI(vae.model, vae.guide, optimizer, objective)
    x = vae.observe(make_images(vae.likelihood, 4))
    with pyro.validation_enabled(False):
        svi.advance(x)  # The first step finds out what there is.
        with Waits() as waits:
            terms = svi.advance(x, 0.5)
    assert terms.finite
    return waits.count


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - WAITS))
def test_no_objective_waits(name: str) -> None:
    assert waits_of_a_step(make_vae(), OBJECTIVES[name]()) == 0


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (role, name)
        for role, table in (
            ("prior", PRIORS),
            ("posterior", POSTERIORS),
            ("likelihood", LIKELIHOODS),
        )
        for name in table
        if "Mises" not in name and "spherical" not in name
    ],
)
def test_no_part_waits(role: str, name: str) -> None:
    assert waits_of_a_step(make_vae(**{role: name}), pyro.infer.Trace_ELBO()) == 0


@pytest.mark.parametrize("name", ["Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO"])
@pytest.mark.parametrize("num_particles", [1, 3])
def test_losses_that_stay_tensors_are_the_same(name: str, num_particles: int) -> None:
    vae = make_vae(networks="Conv").double()
    x = vae.observe(make_images(vae.likelihood, 4)).double()
    elbo = getattr(pyro.infer, name)(num_particles=num_particles)
    found = []
    for context in (None, keeping_tensors()):
        vae.zero_grad()
        torch.manual_seed(0)
        if context is None:
            loss = elbo.loss_and_grads(vae.model, vae.guide, x)
            assert isinstance(loss, float)
        else:
            with context:
                loss = elbo.loss_and_grads(vae.model, vae.guide, x)
            assert isinstance(loss, Tensor) and loss.shape == ()
        found.append((float(loss), [p.grad.clone() for p in vae.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-13)
    for first, second in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(first, second)


def test_pyro_reads_numbers_again_afterwards() -> None:
    before = pyro.infer.trace_elbo.torch_item, pyro.infer.trace_elbo.warn_if_nan
    with pytest.raises(RuntimeError, match="inside"), keeping_tensors():
        assert pyro.infer.trace_elbo.torch_item is not before[0]
        raise RuntimeError("inside")
    assert (pyro.infer.trace_elbo.torch_item, pyro.infer.trace_elbo.warn_if_nan) == before
