"""Which epoch is the best one, and what is said where the loss has another one."""

from __future__ import annotations

from typing import Any

import pytest
from pyro.infer import Trace_ELBO

from pyrovae import (
    DIP,
    GECO,
    MMD,
    Beta,
    BetaTC,
    Capacity,
    Denoising,
    FreeBits,
    LayerFreeBits,
    Recipe,
    Trainer,
    Warmup,
)
from pyrovae.objectives import as_objective
from tests.support.small import adam, small_data, small_vae

SAID = "the best epoch has the highest validation ELBO, "
KEEP = ": --trainer.patience null and --trainer.restore_best false keep the last epoch"
WEIGHT = "in which the rate has the weight 1; the loss ends with the weight 4"


@pytest.mark.parametrize(
    ("settings", "recipe", "why"),
    [
        ({"patience": 3}, {"objective": MMD(alpha=1.0)}, "which MMD does not maximise"),
        ({"restore_best": True}, {"beta": Beta(4.0)}, WEIGHT),
        # A weight of the rate means nothing where the loss has no rate.
        (
            {"restore_best": True},
            {"objective": Denoising(bound=GECO(1.0)), "beta": Beta(4.0)},
            "which GECO does not maximise",
        ),
        ({"restore_best": True}, {"beta": Beta(1.0, Warmup())}, ""),
        ({"restore_best": True}, {"objective": Trace_ELBO()}, ""),
        ({}, {"beta": Beta(4.0)}, ""),
    ],
)
def test_another_aim_than_the_elbo_is_said(
    settings: dict[str, Any], recipe: dict[str, Any], why: str, capsys: pytest.CaptureFixture
) -> None:
    own = Recipe(optimizer=adam().optimizer, **recipe)
    Trainer(epochs=1, batch_size=40, **settings).fit(small_vae(), small_data(), own, progress=True)
    printed = " ".join(capsys.readouterr().out.split())
    assert (SAID in printed) == bool(why)
    assert not why or f"{SAID}{why}{KEEP}" in printed


@pytest.mark.parametrize(
    "objective", [BetaTC(), Capacity(), DIP(), FreeBits(), GECO(1.0), LayerFreeBits(), MMD()]
)
def test_objectives_with_another_aim(objective: Any) -> None:
    assert not objective.maximises_elbo
    assert not as_objective(Denoising(bound=objective)).maximises_elbo
    assert as_objective(Denoising()).maximises_elbo and as_objective(Trace_ELBO()).maximises_elbo
