"""What an objective may do optionally, and that a stock ELBO does none of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from pyrovae import (
    MMD,
    VAE,
    Denoising,
    InputError,
    OptimalScaleNormal,
    ProbabilisticPCA,
    RandomStart,
    SharedScaleNormal,
    StandardNormal,
    Trainer,
)
from pyrovae.objectives import GECO, Objective, Progress, as_objective
from pyrovae.training.callbacks import Callback
from pyrovae.training.sync_batch_norm import coupled_parts
from tests.support.small import LATENT_DIM, adam, small_data, small_vae


class Rising(Objective, Trace_ELBO):
    """An own ELBO that keeps a number of the run in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.state["seen"] = torch.zeros(())

    def begin_step(self, progress: Progress) -> None:
        self.state["seen"].fill_(progress.step + 1)


def test_a_stock_elbo_has_the_defaults() -> None:
    bound = Trace_ELBO()
    objective = as_objective(bound)
    objective.begin_step(Progress(0, 10, 5))
    objective.check_recordable()
    assert objective.innermost() is bound and as_objective(objective) is objective
    assert objective.state == objective.numbers() == {}
    assert not objective.couples_batch and not objective.prefers_wide_guide
    assert objective.rate_and_distortion is None


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_elbo_of_ones_own_hears_of_the_run(wrapped: bool) -> None:
    objective: Any = Denoising(bound=Rising()) if wrapped else Rising()
    recipe, rows = adam(), []
    recipe.objective = objective

    class Rows(Callback):
        def end_epoch(self, epoch: Any) -> None:
            rows.append(epoch.row)

    Trainer(epochs=2, batch_size=20).fit(small_vae(), small_data(), recipe, callbacks=[Rows()])
    assert [row.objective for row in rows] == [{"seen": 4.0}, {"seen": 8.0}]
    assert objective.numbers() == {"seen": 0.0}  # The run has a copy.


def test_a_copy_of_a_wrapped_objective_shares_its_state_with_the_copied_bound() -> None:
    copied = copy.deepcopy(Denoising(bound=GECO(0.0)))
    copied.bound.state["average"] = torch.tensor(3.0)
    assert copied.numbers()["average"] == 3


def test_what_couples_a_batch_is_named() -> None:
    assert as_objective(Denoising(bound=MMD())).couples_batch
    vae = small_vae(likelihood=OptimalScaleNormal())
    assert [n for n in coupled_parts(vae) if n != "BatchNorm2d"] == ["OptimalScaleNormal"]
    assert "OptimalScaleNormal" not in coupled_parts(small_vae())


class Plain(nn.Module):
    """A network that is no `Encoder`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_a_plain_module_trains_but_cannot_start_from_a_linear_model() -> None:
    made = small_vae(shortcut=True)
    vae = VAE(
        encoder=Plain(made.guide.encoder),
        decoder=made.model.decoder,
        prior=StandardNormal(LATENT_DIM),
        likelihood=SharedScaleNormal(),
        posterior=made.guide.posterior,
    )
    images = small_data().split("train").images
    before = copy.deepcopy(vae.state_dict())
    with pytest.raises(InputError, match=r"Plain cannot start .* \(it has no linear form\)"):
        ProbabilisticPCA()(vae, images, False)
    assert "Plain" in ProbabilisticPCA(fallback=RandomStart())(vae, images, False)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    Trainer(epochs=1, batch_size=40).fit(vae, small_data(), adam())
