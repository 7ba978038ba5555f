"""Programs with several latents or attributes take compiled and recorded steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
import torch

from pyrovae import Engine, ModelGuidePair, Trainer
from tests.support.programs import conditional_vae, ladder_vae
from tests.support.recorders import TracingRecorder
from tests.support.small import adam, small_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]


def run(make: Callable[[], ModelGuidePair], compile: Literal["on", "off"]) -> list[float]:
    """The ELBO of each epoch of a short run."""
    torch.manual_seed(0)
    # In double precision rounding is no excuse.
    trainer, engine = Trainer(epochs=3, batch_size=16), Engine("cpu", "fp32", compile)
    data = small_data(num_train=80, num_val=8, num_test=8)
    history = trainer.fit(make().double(), data, adam(1e-3), engine, progress=True)
    return list(history["train_elbo"])


PROGRAMS: dict[str, Callable[[], ModelGuidePair]] = {
    "attributes": conditional_vae,
    # Tracing takes as long as a network is deep.
    "two sites": partial(ladder_vae, channels=[4], latents=[1], shortcut=True),
}


@pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_recorded_steps_are_the_programs(
    make: Callable[[], ModelGuidePair],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = run(make, "off")
    recorders: list[TracingRecorder] = request.getfixturevalue("recorders")
    capsys.readouterr()
    # Learning rates are in single precision, and Adam's bias is corrected in it.
    assert run(make, "on") == pytest.approx(expected, rel=1e-3)
    said = capsys.readouterr().out
    assert "cannot" not in said and "one by one" not in said and "without" not in said
    assert "compiled in" in said
    assert [recorder.replays > 8 for recorder in recorders] == [True]
