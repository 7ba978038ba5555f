"""Runs as a GPU takes them, recorded and compiled as a whole; a CPU stands in for the GPU."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrovae import GECO, VAE, Engine, Trainer
from pyrovae.data import Colour, Crop, Shift
from pyrovae.objectives import Beta, Cosine, Warmup
from pyrovae.training.pacing import Pace
from pyrovae.utils.process_group import Group
from pyrovae.utils.signals import Diverged, Interrupted
from tests.support.recorders import TracingRecorder
from tests.support.small import adam, same_weights, small_data, small_vae

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

RECIPES: dict[str, Any] = {
    "schedules and augmentation": dict(
        schedule=Cosine(), beta=Beta(2.0, Warmup(0.5)), augment=(Shift(), Colour(), Crop())
    ),
    "state": dict(objective=GECO(-1.0)),
}


Found = tuple[VAE, list[float]]


def run(compile: Any, root: Path | None, epochs: int = 3, **kwargs: Any) -> Found:
    """The programs after a run, and the ELBO of each of its epochs."""
    resume = kwargs.pop("resume", False)
    torch.manual_seed(0)
    # Tracing takes as long as a network is deep; in double precision rounding is no excuse.
    vae = small_vae(channels=[4]).double()
    skipped = kwargs.pop("max_skipped", 20)
    trainer = Trainer(epochs=epochs, batch_size=16, clip_norm=100.0, max_skipped=skipped)
    data = small_data()
    data.augment = kwargs.pop("augment", ())
    engine, recipe = Engine("cpu", "fp32", compile), replace(adam(1e-3), **kwargs)
    history = trainer.fit(vae, data, recipe, engine, run=root, resume=resume, progress=True)
    return vae, list(history["train_elbo"])


@pytest.fixture(scope="module", params=RECIPES)
def plain(request: pytest.FixtureRequest) -> tuple[str, list[float]]:
    """The name of a recipe, and the ELBOs of its run as a CPU takes it."""
    return request.param, run("off", None, **RECIPES[request.param])[1]


@pytest.mark.parametrize("compile", ["off", "on"])
def test_a_recorded_run_is_the_run(
    plain: tuple[str, list[float]],
    compile: str,
    tmp_path: Path,
    recorders: list[TracingRecorder],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, expected = plain
    capsys.readouterr()
    _, found = run(compile, tmp_path, **RECIPES[name])
    said = capsys.readouterr().out
    assert "cannot" not in said and "one by one" not in said and "without" not in said
    assert ("compiled in" in said) == (compile == "on")
    assert [recorder.replays > 8 for recorder in recorders] == [True]
    # Learning rates are in single precision, and Adam's bias is corrected in it.
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_long_run_goes_over_to_compiled_steps(
    tmp_path: Path,
    recorders: list[TracingRecorder],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = run("auto", tmp_path / "short", epochs=4)
    assert "not compiled, and recorded as a CUDA graph (auto: compiles if more than 80 s" in (
        said := capsys.readouterr().out
    )
    assert "compiling" not in said
    monkeypatch.setattr(Engine, "BREAK_EVEN_SECONDS", 0.0)
    found = run("auto", tmp_path / "long", epochs=4)
    said = capsys.readouterr().out
    assert "compiling: an estimated" in said and "compiled in" in said
    assert found[1] == pytest.approx(expected[1], rel=1e-3)


def test_recording_can_be_turned_off(tmp_path: Path, recorders: list[TracingRecorder]) -> None:
    engine = Engine("cpu", "fp32", "off", record=False)
    Trainer(epochs=1, batch_size=16).fit(small_vae(), small_data(), adam(), engine)
    assert not recorders


def test_a_recorded_run_goes_on_exactly(tmp_path: Path, recorders: list[TracingRecorder]) -> None:
    expected = run("off", tmp_path / "whole")
    run("off", tmp_path / "parts", epochs=2)
    assert same_weights(run("off", tmp_path / "parts", resume=True)[0], expected[0])


def test_a_recorded_run_that_a_signal_stops_goes_on_exactly(
    tmp_path: Path, recorders: list[TracingRecorder]
) -> None:
    class Stops(Cosine):
        def __call__(self, progress: Any) -> float:
            if progress.step == 8:
                signal.raise_signal(signal.SIGTERM)
            return super().__call__(progress)

    expected = run("off", tmp_path / "whole", schedule=Cosine())
    with pytest.raises(Interrupted):
        run("off", tmp_path / "parts", schedule=Stops())
    found = run("off", tmp_path / "parts", schedule=Cosine(), resume=True)
    assert same_weights(found[0], expected[0]) and found[1] == expected[1]


def test_a_recorded_run_that_diverges_names_the_site(
    tmp_path: Path, recorders: list[TracingRecorder]
) -> None:
    with pytest.raises(Diverged, match="the first non-finite value is"):
        run("off", tmp_path, max_skipped=3, optimizer=_explosive)


def _explosive(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=1e30)


def test_numbers_are_read_less_often_where_steps_are_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.01, 0.5, 0.6, 1.6, 2.6, 2.7])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    pace = Pace(Group(), waits=True)
    assert pace.read(1) is None and pace.every == 10  # 10 ms per step, and 0.1 s between looks.
    pace.start()
    assert pace.read(10) is None and pace.every == 10
    assert pace.read(10) == pytest.approx(0.1) and pace.every == 1
    assert pace.read(4) == pytest.approx(0.25) and pace.every == 1
    assert Pace(Group(), waits=False).read(1) is None
