"""A run directory that version 0.2 wrote: later versions load it, score it, and go on with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import pyrovae
from tests.support.commands import run
from tests.support.small import rows

pytestmark = pytest.mark.slow

OLD = Path(__file__).parent / "run_of_version_0_2"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_an_old_run_is_loaded_with_its_weights_and_scores(old: Path) -> None:
    vae = pyrovae.load(old)
    written = json.loads((old / "evaluation.json").read_text())["vae"]
    data = pyrovae.SyntheticFaces(num_train=64, num_val=16, num_test=16, image_size=16)
    found = pyrovae.evaluate(vae, data.split("test"), pyrovae.Engine("cpu", "fp32"))
    # The run's own score was computed in bfloat16.
    assert found.elbo == pytest.approx(written["elbo"], rel=2e-3)
    assert vae.sample(2).shape == (2, 3, 16, 16)


def test_an_old_run_goes_on(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = rows(old)
    assert run("train", [f"--resume={old}", "--trainer.epochs=2"], monkeypatch) == 0
    first, second = rows(old)
    assert before.items() <= first.items() and second["epoch"] == "2"
