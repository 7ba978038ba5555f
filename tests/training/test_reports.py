"""What a run tells: log lines, metrics, TensorBoard, pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyro.infer import Trace_ELBO

from pyrovae import GECO, BetaTC, Capacity, Recipe, Trainer
from tests.support.small import adam, rows, small_data, small_vae, train

BATCH = 16


def events(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found


def test_run_directory_holds_all_that_is_promised(tmp_path: Path) -> None:
    train(Trainer(epochs=3, batch_size=BATCH), run=tmp_path)
    assert len(list((tmp_path / "checkpoints").glob("best_epoch_*.safetensors"))) == 2
    assert (tmp_path / "checkpoints" / "last.safetensors").exists()
    assert list((tmp_path / "tensorboard").glob("events*"))
    for kind in ("samples", "reconstructions"):
        pictures = sorted(path.name for path in (tmp_path / kind).iterdir())
        assert pictures == [f"epoch_{epoch:04d}.png" for epoch in (1, 2, 3)]
    with Image.open(tmp_path / "samples" / "epoch_0001.png") as picture:
        assert picture.size == (12 * 66 - 2, 12 * 66 - 2)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_tensorboard_holds_scalars_the_learning_rate_and_images(tmp_path: Path) -> None:
    train(Trainer(epochs=2, batch_size=BATCH), run=tmp_path)
    found = events(tmp_path)
    tags = found.Tags()
    assert {"learning_rate", "beta", "train/elbo", "val/elbo", "val/rate"} <= set(tags["scalars"])
    assert set(tags["images"]) == {"samples", "reconstructions"}
    assert [event.step for event in found.Scalars("val/elbo")] == [5, 10]
    for kind in ("samples", "reconstructions"):
        pictures, files = found.Images(kind), sorted((tmp_path / kind).iterdir())
        assert [own.step for own in pictures] == [5, 10]
        for own, file in zip(pictures, files, strict=True):
            assert own.encoded_image_string == file.read_bytes()
            with Image.open(file) as picture:
                assert picture.size == (own.width, own.height)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "names"),
    [
        (GECO(target=-1.0), ["log_multiplier", "average"]),
        (Capacity(5.0), ["target"]),
        (BetaTC(), []),
        (Trace_ELBO(), []),
    ],
)
def test_what_an_objective_keeps_is_logged_written_and_gone_on_with(
    objective: Any, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fit(epochs: int) -> None:
        recipe = Recipe(optimizer=adam().optimizer, objective=objective)
        trainer = Trainer(epochs=epochs, batch_size=BATCH)
        trainer.fit(
            small_vae(), small_data(), recipe, run=tmp_path, resume=epochs > 1, progress=True
        )

    fit(1)
    fit(2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2 and all(f"  {name} " in line for name in names for line in lines)
    table = rows(tmp_path)
    assert [row["epoch"] for row in table] == ["1", "2"]
    columns = [name for name in table[0] if name.startswith("objective_")]
    assert columns == [f"objective_{name}" for name in names]
    tags = {tag for tag in events(tmp_path).Tags()["scalars"] if tag.startswith("objective")}
    assert tags == {f"objective/{name}" for name in names}
    for name in names:
        first, last = (float(row[f"objective_{name}"]) for row in table)
        assert math.isfinite(first) and last != 0
        assert (first != last) == (name in ("log_multiplier", "average"))


@pytest.mark.slow
def test_rows_without_what_the_objective_keeps_are_gone_on_with(tmp_path: Path) -> None:
    recipe = Recipe(optimizer=adam().optimizer, objective=Capacity(5.0))
    train(Trainer(epochs=1, batch_size=BATCH), recipe, tmp_path)
    (row,) = rows(tmp_path)
    del row["objective_target"]
    lines = [",".join(row), ",".join(row.values())]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    train(Trainer(epochs=2, batch_size=BATCH), recipe, tmp_path, resume=True)
    assert [row["objective_target"] != "" for row in rows(tmp_path)] == [False, True]
