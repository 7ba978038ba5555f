"""Two threads that train at once take the steps that each takes alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor

from pyrovae import SVI, VAE, DiagonalNormal, GroupedOptimizer
from pyrovae.objectives.device_losses import keeping_tensors
from tests.support.small import LATENT_DIM, small_vae

STEPS = 25
#: Different objectives and betas: messages that reached the other thread would change its loss.
RUNS: list[tuple[Callable[[], Any], float]] = [
    (Trace_ELBO, 0.5),
    (partial(TraceMeanField_ELBO, num_particles=2), 3.0),
]


class OwnNoise(dist.Normal):
    """A Normal with a generator of its own, where torch has one for all threads."""

    generator: torch.Generator

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * torch.randn(shape, generator=self.generator)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, self._get_checked_instance(OwnNoise, _instance))
        new.generator = self.generator
        return new


class OwnPosterior(DiagonalNormal):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__(LATENT_DIM)
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, h: Tensor) -> Any:
        q = OwnNoise(*self.location_and_scale(h))
        q.generator = self.generator
        return q.to_event(1)


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Switches threads as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with pyro.validation_enabled(False):
        yield
    sys.setswitchinterval(before)


def trainer_of(objective: Any, beta: float) -> tuple[Callable[[Any], list[Any]], VAE]:
    """What takes some steps, once all have arrived at a barrier."""
    made = small_vae()
    parts = {"encoder": made.guide.encoder, "decoder": made.model.decoder}
    likelihood = made.likelihood
    vae = VAE(**parts, prior=made.model.prior, likelihood=likelihood, posterior=OwnPosterior())
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-2), clip_norm=10.0)
    svi = SVI(vae.model, vae.guide, optimizer, objective)
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def steps(barrier: Any) -> list[Any]:
        barrier.wait()
        return [torch.stack(svi.advance(x, beta)).tolist() for _ in range(STEPS)]

    return steps, vae


@pytest.mark.slow
def test_two_threads_take_the_steps_of_one() -> None:
    alone = []
    for make, beta in RUNS:
        steps, vae = trainer_of(make(), beta)
        alone.append((steps(threading.Barrier(1)), [p.clone() for p in vae.parameters()]))
    barrier = threading.Barrier(len(RUNS))
    made = [trainer_of(make(), beta) for make, beta in RUNS]
    with ThreadPoolExecutor(len(RUNS)) as pool:
        found = list(pool.map(lambda run: run[0](barrier), made))
    for (expected, parameters), rows, (_, vae) in zip(alone, found, made, strict=True):
        assert rows == expected and all(row[0] == 1 for row in rows)
        assert all(map(torch.equal, vae.parameters(), parameters))
    assert alone[0][0] != alone[1][0]


def test_a_thread_outside_reads_numbers_while_another_keeps_tensors() -> None:
    original = pyro.infer.tracegraph_elbo.torch_item
    inside, leave = threading.Event(), threading.Event()

    def stay() -> Any:
        with keeping_tensors():
            inside.set()
            assert leave.wait(60)
            return type(pyro.infer.tracegraph_elbo.torch_item(torch.ones(())))

    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(stay)
        assert inside.wait(60)
        vae, x = small_vae(), torch.rand(4, 3, 16, 16)
        assert type(TraceGraph_ELBO().loss(vae.model, vae.guide, x)) is float
        with keeping_tensors():
            assert type(TraceGraph_ELBO().loss(vae.model, vae.guide, x)) is Tensor
        leave.set()
        assert staying.result() is Tensor
    assert pyro.infer.tracegraph_elbo.torch_item is original
