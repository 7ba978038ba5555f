"""What only a GPU shows: skipped where there is none."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyro
import pytest
import torch

from pyrovae import SVI, Cosine, Engine, GroupedOptimizer, Trainer
from tests.small import adam, small_data, small_vae
from tests.tables import make_images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def elbos(root: Path, epochs: int = 6, resume: bool = False, **kwargs: object) -> list[float]:
    """The training ELBO of each epoch; every fourth step is replayed, if it is compiled."""
    vae, engine = small_vae(), Engine("cuda", "fp32", **kwargs)  # type: ignore[arg-type]
    recipe = replace(adam(1e-3), schedule=Cosine())
    trainer = Trainer(epochs=epochs, batch_size=16, clip_norm=100.0)
    trainer.fit(vae, small_data(), recipe, engine, run=root, resume=resume, progress=True)
    with open(root / "metrics.csv", newline="") as file:
        return [float(row["train_elbo"]) for row in csv.DictReader(file)]


def test_a_recorded_run_is_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = elbos(tmp_path / "off", compile="off")
    found = elbos(tmp_path / "on", compile="on")
    assert "cannot" not in capsys.readouterr().out
    assert found == pytest.approx(expected, rel=0.02)


def test_images_that_are_read_ahead_are_those_that_are_resident(tmp_path: Path) -> None:
    expected = elbos(tmp_path / "resident", compile="off")
    assert elbos(tmp_path / "read", compile="off", resident_gb=0.0) == pytest.approx(expected)


def test_a_step_never_waits_for_the_device() -> None:
    vae = small_vae().cuda()
    images = make_images(vae.likelihood, 4, shape=(3, 16, 16)).cuda()
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=1.0)
    svi = SVI(vae.model, vae.guide, optimizer, pyro.infer.Trace_ELBO(), observe=vae.observe)
    with pyro.validation_enabled(False):
        svi.advance(images)
        torch.cuda.set_sync_debug_mode("error")
        try:
            svi.advance(images)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_a_recorded_run_goes_on(tmp_path: Path) -> None:
    elbos(tmp_path, epochs=3, compile="on")
    assert len(elbos(tmp_path, epochs=6, resume=True, compile="on")) == 6
