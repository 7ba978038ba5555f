"""What only a GPU shows: skipped where there is none. `python tests/gpu.py` runs it and more.

With PYROVAE_GPU_DEVICE=cpu in the environment the tests run on the CPU, to try them themselves.
"""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from benchmarking.cases import data_of

from pyrovae import SVI, VAE, Cosine, Engine, GroupedOptimizer, Recipe, RunDirectory, Trainer, load
from pyrovae.objectives import Beta, Warmup
from tests.support.commands import SCRIPTS, TINY
from tests.support.matrix import LIKELIHOODS, OBJECTIVES, POSTERIORS, PRIORS, make
from tests.support.processes import run_script
from tests.support.small import adam, same_weights, small_data, small_vae
from tests.support.tables import make_images

DEVICE = os.environ.get("PYROVAE_GPU_DEVICE", "cuda")
ON_GPU = DEVICE.startswith("cuda")

pytestmark = pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="needs a GPU")

#: How steps are taken: as the programs are, recorded, compiled and recorded.
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {"compile": "off", "record": False},
    "recorded": {"compile": "off"},
    "compiled": {"compile": "on"},
}
USUAL = ("StandardNormal", "SharedScaleNormal", "DiagonalNormal", "Trace_ELBO")
#: What depends on values, and says so in place of being recorded.
AS_IT_IS = {"RenyiELBO", "VonMisesFisher"}
SHAPE = (3, 32, 32)


def configurations() -> list[tuple[str, str, str, str]]:
    """Each part beside the usual ones, and two mixtures of the others."""
    found = []
    for place, table in enumerate((PRIORS, LIKELIHOODS, POSTERIORS, OBJECTIVES)):
        for name in table:
            names = [*USUAL[:place], name, *USUAL[place + 1 :]]
            if name == "HypersphericalUniform":
                names[2] = "VonMisesFisher"
            if name == "VonMisesFisher":
                names[0] = "HypersphericalUniform"
            found.append((names[0], names[1], names[2], names[3]))
    found.append(("VampPrior", "DiscretizedLogisticMixture", "FullRankNormal", "DReG"))
    found.append(("FlowPrior", "Bernoulli", "InverseAutoregressiveFlow", "IWAE"))
    return list(dict.fromkeys(found))


def train_elbos(root: Path) -> list[float]:
    with open(root / "metrics.csv", newline="") as file:
        return [float(row["train_elbo"]) for row in csv.DictReader(file)]


def small_run(root: Path, epochs: int = 6, resume: bool = False, **kwargs: Any) -> list[float]:
    """The training ELBO of each epoch of a small run."""
    engine = Engine(kwargs.pop("device", DEVICE), "fp32", **kwargs)
    trainer = Trainer(epochs=epochs, batch_size=16, clip_norm=100.0)
    recipe = replace(adam(1e-3), schedule=Cosine(), beta=Beta(1.0, Warmup(0.5)))
    trainer.fit(small_vae(), small_data(), recipe, engine, run=root, resume=resume, progress=True)
    return train_elbos(root)


@pytest.mark.parametrize("way", ["recorded", "compiled"])
def test_a_recorded_run_is_the_run(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = small_run(tmp_path / "as it is", **WAYS["as it is"])
    found = small_run(tmp_path / way, **WAYS[way])
    said = capsys.readouterr().out
    assert "cannot" not in said and "one by one" not in said
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("names", configurations(), ids="-".join)
def test_every_part_takes_the_same_steps_in_every_way(
    names: tuple[str, str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior, likelihood, posterior, objective = names
    small = np.random.default_rng(0).integers(0, 255, (64, *SHAPE), np.uint8)
    images = np.resize(small, (640, *SHAPE))
    found = {}
    for way, options in WAYS.items():
        torch.manual_seed(0)
        vae = make(prior, likelihood, posterior, SHAPE)
        recipe = Recipe(partial(torch.optim.Adam, lr=1e-3), objective=OBJECTIVES[objective]())
        data = data_of(images, flip=True)
        run, engine = tmp_path / way, Engine(DEVICE, **options)
        Trainer(epochs=2, batch_size=32).fit(vae, data, recipe, engine, run=run, progress=True)
        found[way] = train_elbos(run)
        again = make(prior, likelihood, posterior, SHAPE)
        again.load_state_dict(RunDirectory(run).weights("last"))
        assert same_weights(again, vae.cpu())
    said = capsys.readouterr().out
    assert AS_IT_IS & set(names) or not ("cannot" in said or "one by one" in said), said
    for way, elbos in found.items():
        assert elbos == pytest.approx(found["as it is"], rel=0.02), way


def test_images_that_are_read_ahead_are_those_that_are_resident(tmp_path: Path) -> None:
    expected = small_run(tmp_path / "resident")
    assert small_run(tmp_path / "read", resident_gb=0.0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("way", ["recorded", "compiled"])
def test_a_recorded_run_goes_on(way: str, tmp_path: Path) -> None:
    expected = small_run(tmp_path / "whole", **WAYS[way])
    small_run(tmp_path / "parts", epochs=3, **WAYS[way])
    # A cosine over three epochs is another one: only that the run goes on is the same.
    assert len(small_run(tmp_path / "parts", resume=True, **WAYS[way])) == len(expected)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Makes every wait for the device an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns of being a prototype.
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_a_step_never_waits_for_the_device() -> None:
    vae = small_vae().to(DEVICE)
    images = make_images(vae.likelihood, 4, shape=(3, 16, 16)).to(DEVICE)
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=1.0)
    svi = SVI(vae.model, vae.guide, optimizer, pyro.infer.Trace_ELBO(), observe=vae.scored)
    with pyro.validation_enabled(False):
        svi.advance(images)
        with no_waiting():
            svi.advance(images)


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_products_round_to_tf32_only_where_the_precision_says_so() -> None:
    x = torch.linspace(-1, 1, 512 * 512, device=DEVICE).reshape(512, 512)
    exact = x.double() @ x.double()
    error = {}
    for precision in ("fp32", "tf32", "bf16"):
        with Engine(DEVICE, precision).arithmetic():  # type: ignore[arg-type]
            error[precision] = ((x @ x).double() - exact).abs().max().item()
    assert error["tf32"] > 10 * error["fp32"] and error["bf16"] == error["fp32"]


@pytest.mark.parametrize("first", ["device", "cpu"])
def test_a_run_goes_on_on_another_device(first: str, tmp_path: Path) -> None:
    devices = [DEVICE, "cpu"] if first == "device" else ["cpu", DEVICE]
    small_run(tmp_path, epochs=2, device=devices[0])
    assert len(small_run(tmp_path, epochs=4, resume=True, device=devices[1])) == 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the training script on the device."""
    root = tmp_path_factory.mktemp("gpu") / "run"
    more = ["--data.num_test=24", f"--engine.device={DEVICE}"]
    execute("train", *TINY, *more, f"--run_dir={root}")
    return root


def execute(name: str, *arguments: str, folder: Path | None = None) -> str:
    done = run_script(SCRIPTS / f"{name}.py", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"Warning|^W\d{4} ", done.stderr, re.MULTILINE), done.stderr
    return done.stdout


def test_the_training_script_resumes(run: Path) -> None:
    assert "epoch 2/2" in execute("train", f"--resume={run}", "--trainer.epochs=2")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sample", ["--num=4", "--out=samples.png"]),
        ("sample", ["--reconstruct", "test", "--out=again.png"]),
        ("evaluate", ["--num_samples=10"]),
        ("inspect_posterior", ["--quick", "--num_images=20"]),
    ],
)
def test_scripts_run_on_the_device(
    name: str, arguments: list[str], run: Path, tmp_path: Path
) -> None:
    execute(name, str(run), f"--device={DEVICE}", *arguments, folder=tmp_path)


def test_a_compiled_training_script_is_quiet(tmp_path: Path) -> None:
    said = execute(
        "train",
        *TINY,
        f"--engine.device={DEVICE}",
        "--engine.compile=on",
        "--trainer.epochs=2",
        f"--run_dir={tmp_path / 'run'}",
    )
    assert "compiled in" in said and "cannot" not in said


def test_a_run_of_the_device_is_loaded_on_a_cpu(run: Path) -> None:
    vae: VAE = load(run)
    assert next(vae.parameters()).device.type == "cpu"
    assert vae.sample(2).isfinite().all()


def test_the_benchmark_runs_every_loop(tmp_path: Path) -> None:
    arguments = ["--quick", "--sections=steps", "--cases=mlp", "--rounds=2"]
    said = execute("benchmark", *arguments, f"--device={DEVICE}", f"--out={tmp_path}")
    failed = [line for line in said.splitlines() if "not run" in line and "pythae" not in line]
    assert not failed, said
