"""Which epoch is the best one, and what is said where the loss has another one."""

from __future__ import annotations

from typing import Any

import pytest
from pyro.infer import Trace_ELBO

from pyrovae import MMD, Beta, Recipe, Trainer, Warmup
from tests.support.small import adam, small_data, small_vae

SAID = "the best epoch has the highest validation ELBO, in which the rate has the weight 1"


@pytest.mark.parametrize(
    ("settings", "recipe", "weight"),
    [
        ({"patience": 3}, {"objective": MMD(alpha=1.0, weight=10.0)}, "0"),
        ({"restore_best": True}, {"objective": MMD(alpha=0.5)}, "0.5"),
        ({"restore_best": True}, {"beta": Beta(4.0)}, "4"),
        ({"restore_best": True}, {"beta": Beta(1.0, Warmup())}, ""),
        ({"restore_best": True}, {"objective": Trace_ELBO()}, ""),
        ({}, {"beta": Beta(4.0)}, ""),
    ],
)
def test_another_weight_of_the_rate_is_said(
    settings: dict[str, Any], recipe: dict[str, Any], weight: str, capsys: pytest.CaptureFixture
) -> None:
    own = Recipe(optimizer=adam().optimizer, **recipe)
    Trainer(epochs=1, batch_size=40, **settings).fit(small_vae(), small_data(), own, progress=True)
    printed = " ".join(capsys.readouterr().out.split())
    assert (SAID in printed) == bool(weight)
    assert not weight or f"the loss ends with the weight {weight}: --trainer.patience" in printed
