"""A recorded step takes what changes from addresses that stay; no GPU is needed to see it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pyro
import pytest
import torch
from torch import Tensor

from pyrovae import SVI, Capacity, GroupedOptimizer, Warmup
from pyrovae.capturing import CapturedStep
from pyrovae.gradients import Terms
from pyrovae.objectives import Progress
from tests.tables import IMAGE_SHAPE, make_vae

OPTIMIZERS = {
    "Adam": partial(torch.optim.Adam, lr=0.25),
    "AdamW": partial(torch.optim.AdamW, lr=0.25, weight_decay=0.1),
    "SGD": partial(torch.optim.SGD, lr=0.25, momentum=0.9),
}


def record(work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """As a GPU's recorder: what runs again is the same work, into the same tensor."""
    result = torch.zeros(len(Terms._fields))
    return result, lambda: result.copy_(work())


def told(images: Tensor, beta: Tensor | float, inputs: dict[str, Tensor]) -> Terms:
    parts = (torch.tensor(1.0), images.sum(), torch.as_tensor(beta), inputs["a"].sum())
    return Terms(*(part.float() for part in parts))


def test_what_is_given_reaches_the_recorded_step() -> None:
    addresses = []

    def step(images: Tensor, beta: Tensor | float, inputs: dict[str, Tensor]) -> Terms:
        addresses.append((images.data_ptr(), inputs["a"].data_ptr()))
        return told(images, beta, inputs)

    captured = CapturedStep(step, record, pytest.fail)
    found = [
        captured(torch.full((2,), float(i)), float(i), {"a": torch.full((3,), i)})
        for i in range(8)
    ]
    for i, terms in enumerate(found):  # Copies: the next step leaves them alone.
        assert [float(term) for term in terms] == [1.0, 2.0 * i, i, 3.0 * i]
    assert len(set(addresses[CapturedStep.WARM_UP :])) == 1


def test_another_shape_runs_as_it_is() -> None:
    captured = CapturedStep(told, record, pytest.fail)
    for size in (2, 2, 2, 2, 5, 2):
        terms = captured(torch.ones(size), 1.0, {"a": torch.ones(1)})
        assert float(terms.loss) == size


def test_what_cannot_be_recorded_says_so_once_and_runs() -> None:
    def refuse(work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    said: list[str] = []
    captured = CapturedStep(told, refuse, said.append)
    for i in range(6):
        assert float(captured(torch.full((2,), i), 1.0, {"a": torch.ones(1)}).loss) == 2 * i
    assert len(said) == 1 and "not permitted" in said[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_recorded_steps_are_the_steps(name: str) -> None:
    """With beta, learning rate and the objective's state live, as they change over a run."""
    found = []
    for recorded in (False, True):
        torch.manual_seed(0)
        vae, objective = make_vae(), Capacity(50.0, schedule=Warmup(0.5))
        optimizer = GroupedOptimizer(OPTIMIZERS[name], clip_norm=1.0)
        svi = SVI(vae.model, vae.guide, optimizer, objective, observe=vae.observed)
        images = torch.randint(256, (10, 4, *IMAGE_SHAPE)).byte()
        with pyro.validation_enabled(False):
            svi.evaluate_loss(vae.observed(images[0]))
            optimizer.register(p for _, p in pyro.get_param_store().named_parameters())
            step = svi.advance
            if recorded:
                assert optimizer.make_capturable()
                step = CapturedStep(svi.advance, record, pytest.fail)
            losses = []
            for i, batch in enumerate(images):
                objective.begin_step(Progress(i, 10, 10))
                optimizer.scale_learning_rate((i + 1) / 10)
                losses.append(float(step(batch, i / 10, {}).loss))
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] != pytest.approx(found[0][:1] * 10, rel=1e-2)


def test_optimisers_that_must_be_told_are_not_recorded() -> None:
    vae = make_vae()
    optimizer = GroupedOptimizer(partial(torch.optim.RMSprop, lr=0.1))
    svi = SVI(vae.model, vae.guide, optimizer, pyro.infer.Trace_ELBO())
    svi.step(torch.rand(4, *IMAGE_SHAPE))
    assert not optimizer.make_capturable()
