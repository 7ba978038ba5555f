"""Runs whose step is compiled: the same training, or one line that says why not."""

from __future__ import annotations

import csv
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pyro
import pyro.infer
import pytest
import torch

from pyrovae import VAE, Engine, Trainer
from pyrovae.objectives import Beta, Cosine, Objective, Warmup
from pyrovae.training import compiling
from pyrovae.training.callbacks import RunPage
from tests.support.small import adam, same_weights, small_data, small_vae

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

Outcome = tuple[VAE, list[float]]  # with the training ELBO of each epoch

RECIPES: dict[str, Any] = {
    "schedules": dict(schedule=Cosine(), beta=Beta(2.0, Warmup(0.5))),
    "mean field": dict(objective=pyro.infer.TraceMeanField_ELBO()),
}


#: What is run: the traced graph as it is, or compiled, which takes half a minute.
GRAPHS = {"traced": lambda graph, values: graph, "compiled": compiling._compiled}


@pytest.fixture(autouse=True)
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_compiled", GRAPHS["traced"])


def run(compile: Any, epochs: int = 2, root: Path | None = None, **kwargs: Any) -> Outcome:
    resume = kwargs.pop("resume", False)
    torch.manual_seed(0)
    # Tracing takes as long as a network is deep; in double precision rounding is no excuse.
    vae = small_vae(channels=[4]).double()
    recipe = replace(adam(), **kwargs)
    trainer = Trainer(epochs=epochs, batch_size=16, clip_norm=100.0)
    engine = Engine("cpu", "fp32", compile)
    trainer.fit(vae, small_data(), recipe, engine, run=root, resume=resume, progress=True)
    if root is None:
        return vae, []
    with open(root / "metrics.csv", newline="") as file:
        return vae, [float(row["train_elbo"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def mean_field(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, str]:
    """A run whose traced graph runs as it is, and what it printed; tests only read them."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.setattr(compiling, "_compiled", GRAPHS["traced"])
        patch.setattr(RunPage, "end_epoch", lambda self, epoch: None)
        root = tmp_path_factory.mktemp("mean field")
        return run("on", root=root, **RECIPES["mean field"]), printed.getvalue()


def is_the_run(
    found: Outcome, said: str, recipe: dict[str, Any], root: Path, rel: float = 1e-7
) -> None:
    with redirect_stdout(StringIO()) as printed:
        expected = run("off", root=root, **recipe)
    assert "the step is not compiled (--engine.compile off)" in printed.getvalue()
    assert "the step is compiled (--engine.compile on)" in said and "compiled in" in said
    # Not the weights: of biases before batch norm, whose gradients are zero, Adam makes noise.
    assert found[1] == pytest.approx(expected[1], rel=rel)


def test_a_traced_run_is_the_run(mean_field: tuple[Outcome, str], tmp_path: Path) -> None:
    is_the_run(*mean_field, RECIPES["mean field"], tmp_path)


def test_a_compiled_run_is_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one run that is compiled, which takes half a minute."""
    monkeypatch.setattr(compiling, "_compiled", GRAPHS["compiled"])
    found = run("on", root=tmp_path / "on", **RECIPES["schedules"])
    # PyTorch 2.6 compiles with constants of single precision.
    rel = 1e-3 if torch.__version__.startswith("2.6.") else 1e-7
    said = capsys.readouterr().out
    is_the_run(found, said, RECIPES["schedules"], tmp_path / "off", rel)


def test_what_cannot_be_compiled_runs_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    objective = pyro.infer.RenyiELBO(num_particles=2, vectorize_particles=True)
    found = run("on", objective=objective)
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot" in line]
    assert len(lines) == 1 and lines[0].startswith("cannot be compiled, runs eagerly: ")
    assert same_weights(found[0], run("off", objective=objective)[0])


def test_a_compiler_that_fails_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(graph: Any, values: Any) -> Any:
        raise OSError("no compiler named g++")

    monkeypatch.setattr(compiling, "_compiled", fail)
    found = run("on")
    assert "runs eagerly: no compiler named g++" in capsys.readouterr().out
    assert same_weights(found[0], run("off")[0])


def test_a_compiled_run_goes_on_exactly(mean_field: tuple[Outcome, str], tmp_path: Path) -> None:
    (expected, _), _ = mean_field
    run("on", epochs=1, root=tmp_path, **RECIPES["mean field"])
    found = run("on", epochs=2, root=tmp_path, resume=True, **RECIPES["mean field"])
    assert same_weights(found[0], expected)


class Hears(Objective, pyro.infer.Trace_ELBO):
    """An objective that keeps what it hears where no graph looks."""

    weight = 1.0

    def begin_step(self, progress: Any) -> None:
        self.weight = 1 + progress.step


def test_an_objective_that_hears_and_fills_no_state_is_not_compiled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("on", objective=Hears())
    assert "eagerly: Hears.begin_step fills no tensor" in capsys.readouterr().out
