"""What a run measures each epoch besides its ELBO."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrovae import Recipe, Trainer
from pyrovae.inspection.measures.history import from_cells
from pyrovae.runs import RunDirectory, load_checkpoint, save_checkpoint
from pyrovae.training.callbacks import Callback, Epoch
from pyrovae.training.rows import COLUMNS, NEEDED, as_text
from tests.support.small import adam, rows, small_data, small_vae
from tests.support.tables import LIKELIHOODS

pytestmark = pytest.mark.usefixtures("without_pages")

NEW = [name for name in COLUMNS if name not in NEEDED]


def fit(epochs: int = 1, recipe: Recipe | None = None, **kwargs: Any) -> Any:
    clip = kwargs.pop("clip_norm", None)
    trainer = Trainer(epochs=epochs, batch_size=40, clip_norm=clip)
    return trainer.fit(small_vae(), small_data(), recipe or adam(), **kwargs)


def events(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"), {"histograms": 0, "scalars": 0})
    found.Reload()
    return found


class Own(Callback):
    """Measures the number of epochs, and stops after some."""

    def __init__(self, last: int = 9, value: Any = None) -> None:
        self.last, self.value, self.epoch = last, value, 0

    def measurements(self, epoch: Epoch) -> Any:
        self.epoch = epoch.row.epoch
        return {"epochs": self.epoch / 2} if self.value is None else self.value

    def reason_to_stop(self) -> str:
        return "it is enough" if self.epoch >= self.last else ""


@pytest.mark.slow
def test_numbers_of_a_callback_are_in_the_history_and_the_files(tmp_path: Path) -> None:
    history = fit(2, run=tmp_path, callbacks=[Own()])
    assert list(history["own_epochs"]) == [0.5, 1.0]
    assert [float(row["own_epochs"]) for row in rows(tmp_path)] == [0.5, 1.0]
    assert [own.value for own in events(tmp_path).Scalars("own_epochs")] == [0.5, 1.0]
    again = fit(3, run=tmp_path, resume=True, callbacks=[Own()])
    assert list(again["own_epochs"]) == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("name", ["own_score", "val_elbo", "gradient_norm"])
def test_a_number_that_is_not_known_does_not_end_the_watch(name: str) -> None:
    numbers = dict.fromkeys(("step", "epoch", "val_elbo", "train_elbo", "skipped_steps"), 2.0)
    row: dict[str, Any] = numbers | {"seconds": 1.0, "learning_rate": 0.1}
    found = from_cells([as_text(row | {name: math.nan}), as_text(row | {name: 1.0})])
    assert found["epochs"] == 2 and found["steps"] == 2


def test_a_callback_ends_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = fit(5, run=tmp_path, callbacks=[Own(last=2)], progress=True)
    assert len(history) == 2 and len(rows(tmp_path)) == 2
    assert "stopped early: it is enough" in capsys.readouterr().out
    assert load_checkpoint(RunDirectory(tmp_path).last)[1]["epoch"] == 2


@pytest.mark.parametrize("value", [3, ["a"], {"a": "b"}, {"a": None}])
def test_what_a_callback_measures_are_numbers(value: Any) -> None:
    with pytest.raises(TypeError, match="^Own.measurements must return numbers by name, got"):
        fit(callbacks=[Own(value=value)])


@pytest.mark.slow
def test_every_epoch_is_measured(tmp_path: Path) -> None:
    history = fit(2, run=tmp_path)
    for name in ("active_units", "noise_scale", "gradient_norm", "val_psnr", "memory_gb"):
        assert history[name].notna().all(), name
    assert history["device_memory_gb"].isna().all()
    assert history["memory_gb"].between(0.05, 100).all()
    assert history["active_units"].between(0, 4).all()
    # The scale is between its start, 0.2, and the residuals.
    assert history["noise_scale"].between(0.1, 0.5).all()
    assert history["val_psnr"].between(3, 40).all()


@pytest.mark.slow
def test_the_gradient_norm_is_the_mean_before_clipping() -> None:
    (before,) = fit(recipe=adam(0.0))["gradient_norm"]
    (clipped,) = fit(recipe=adam(0.0), clip_norm=1e-3)["gradient_norm"]
    assert before == pytest.approx(clipped, rel=1e-4) and before > 1


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_noise_scale_is_a_positive_number_or_none(name: str) -> None:
    likelihood = LIKELIHOODS[name]()
    scale = likelihood.noise_scale()
    learned = any("scale" in key or "mean_square" in key for key in likelihood.state_dict())
    assert (scale is not None) == learned
    assert scale is None or (scale.shape == () and 0 < float(scale.detach()) < math.inf)


@pytest.mark.slow
def test_tensorboard_holds_the_histogram_the_options_and_hyperparameters(tmp_path: Path) -> None:
    fit(2, run=tmp_path)
    found = events(tmp_path)
    tags = found.Tags()
    (first, last) = found.Histograms("kl_per_dimension")
    assert (first.step, last.step) == (2, 4) and first.histogram_value.num == 4
    assert {"active_units", "noise_scale", "gradient_norm", "val/psnr"} <= set(tags["scalars"])
    (text,) = found.Tensors("config/text_summary")
    assert "latent_dim: 4" in text.tensor_proto.string_val[0].decode()
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert b"prior.latent_dim" in path.read_bytes() and b"_hparams_" in path.read_bytes()


@pytest.mark.slow
def test_a_metrics_file_without_the_measurements_goes_on(tmp_path: Path) -> None:
    fit(1, run=tmp_path)
    (row,) = rows(tmp_path)
    old = {name: value for name, value in row.items() if name in NEEDED}
    (tmp_path / "metrics.csv").write_text(",".join(old) + "\n" + ",".join(old.values()) + "\n")
    history = fit(2, run=tmp_path, resume=True)
    first, second = rows(tmp_path)
    assert {name: first[name] for name in old} == old
    assert not any(first[name] for name in NEW) and second["gradient_norm"]
    assert history["active_units"].isna().tolist() == [True, False]


@pytest.mark.slow
def test_an_epoch_that_an_older_version_began_has_no_gradient_norm(tmp_path: Path) -> None:
    fit(1, run=tmp_path)
    run = RunDirectory(tmp_path)
    tensors, state = load_checkpoint(run.last)
    del state["norm"]
    state |= {"batch": 1, "step": 3, "finite": 1}
    save_checkpoint(run.last, tensors, state)
    norms = fit(3, run=tmp_path, resume=True)["gradient_norm"]
    assert norms.isna().tolist() == [False, True, False]


@pytest.mark.slow
def test_training_is_unchanged_by_what_is_measured() -> None:
    state = torch.get_rng_state()
    first = fit(2)["val_elbo"]
    torch.set_rng_state(state)
    assert list(first) == list(fit(2)["val_elbo"])
