"""Loggers, callbacks and the history of a run."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, call

import pandas
import pytest
import yaml
from PIL.Image import Image

from pyrovae import RunDirectory, Trainer
from pyrovae.runs.renewing import renewed
from pyrovae.training.callbacks import Callback, Console
from pyrovae.training.loggers import CSVLogger, MLflowLogger, TrackioLogger, WandbLogger
from tests.support.commands import TINY, execute, run
from tests.support.small import adam, rows, small_data, small_vae

pytestmark = pytest.mark.usefixtures("without_pages")

BATCH = 40


def fit(epochs: int = 1, **kwargs: Any) -> Any:
    trainer = Trainer(epochs=epochs, batch_size=BATCH)
    return trainer.fit(small_vae(), small_data(), adam(), **kwargs)


class Remember:
    """A logger that is no subclass of `Logger`."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls = fails, list[Any]()

    def start(self, config: Any) -> None:
        self.keep("start", config)

    def log(self, numbers: Any, images: Any, step: int) -> None:
        self.keep("log", numbers, images, step)

    def finish(self, status: str) -> None:
        self.keep("finish", status)

    def keep(self, name: str, *given: Any) -> None:
        self.calls.append((name, *given))
        if name == self.fails:
            raise RuntimeError("the server\nis gone")


@pytest.mark.slow
def test_fit_returns_what_metrics_csv_holds(tmp_path: Path) -> None:
    history = fit(2, run=tmp_path)
    written = pandas.read_csv(tmp_path / "metrics.csv")
    pandas.testing.assert_frame_equal(pandas.DataFrame(history), written, rtol=1e-12)
    assert history.state.step == 4 and list(history["epoch"]) == [1, 2]
    assert isinstance(history, pandas.DataFrame) and history["val_elbo"].notna().all()
    longer = fit(3, run=tmp_path, resume=True)
    assert list(longer["step"]) == [2, 4, 6] and longer.state.epoch == 3
    assert list(longer["val_elbo"])[:2] == list(history["val_elbo"])


@pytest.mark.slow
def test_fit_returns_the_same_without_a_run_directory(tmp_path: Path) -> None:
    bare, kept = fit(2), fit(2, run=tmp_path)
    measured = [name for name in bare if "second" not in name and "memory" not in name]
    assert bare[measured].equals(kept[measured]) and list(bare) == list(kept)


@pytest.mark.slow
def test_a_logger_gets_options_numbers_and_pictures(tmp_path: Path) -> None:
    logger = Remember()
    fit(2, run=tmp_path, loggers=[logger])
    (_, config), *logged, finished = logger.calls
    assert finished == ("finish", "finished") and not (tmp_path / "metrics.csv").exists()
    assert config["prior"] == "pyrovae.StandardNormal" and config["trainer.epochs"] == 2
    assert all(isinstance(value, (bool, int, float, str)) for value in config.values())
    assert config.run.root == tmp_path and config.text == (tmp_path / "config.yaml").read_text()
    assert [step for _, _, _, step in logged] == [2, 4]
    _, numbers, images, _ = logged[0]
    assert all(isinstance(value, (int, float)) for value in numbers.values())
    assert isinstance(images["samples"], Image) and set(images.files) == set(images)


def test_pictures_are_drawn_only_for_who_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae()
    monkeypatch.setattr(type(vae), "sample", None)
    Trainer(epochs=1, batch_size=BATCH).fit(vae, small_data(), adam(), loggers=[Remember()])


@pytest.mark.parametrize("fails", ["start", "log", "finish"])
def test_a_logger_that_fails_does_not_end_the_run(
    fails: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = Remember(fails), Remember()
    history = fit(2, loggers=[bad, good], progress=True)
    found = [line for line in capsys.readouterr().out.splitlines() if "Remember" in line]
    assert len(found) == 1 and "continues without it: the server is gone" in found[0]
    assert len(history) == 2 and len(good.calls) == 4
    assert [call[0] for call in bad.calls].count(fails) == 1


def test_an_epoch_prints_its_metrics_alone() -> None:
    class Keep(Callback):
        def end_epoch(self, epoch: Any) -> None:
            self.text = repr(epoch)

    keep = Keep()
    fit(callbacks=[keep])
    assert "val_elbo=" in keep.text and "Linear" not in keep.text and "\n" not in keep.text


@pytest.mark.slow
def test_without_a_console_a_failing_logger_is_a_warning(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(loggers=[Remember("start")])
    assert "Remember cannot start, the run continues without it: the server is" in caplog.text
    caplog.clear()
    fit(loggers=[Remember("start")], callbacks=[Console()])
    assert not caplog.records and "Remember cannot start" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_run_and_a_failed_one_are_finished_as_such() -> None:
    class Stop(Callback):
        def __init__(self, error: type[BaseException]) -> None:
            self.error = error

        def end_epoch(self, epoch: Any) -> None:
            raise self.error

    for error, status in ((KeyboardInterrupt, "interrupted"), (OSError, "failed")):
        logger = Remember()
        with pytest.raises(error):
            fit(callbacks=[Stop(error)], loggers=[logger])
        assert logger.calls[-1] == ("finish", status)


def test_callbacks_are_added_and_one_of_the_same_class_replaces(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(callbacks=[Console()], progress=True)
    assert capsys.readouterr().out.count("epoch 1/1") == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"loggers": [Console()]}, "loggers must be of the kind Logger, got Console; a callback"),
        ({"loggers": [CSVLogger]}, "loggers must be of the kind Logger, got the class CSVLogger"),
        ({"loggers": ["x"]}, "got str; its methods are start(config), log(numbers, images, step)"),
        ({"loggers": CSVLogger()}, "loggers must be of the kind Sequence, got CSVLogger; write"),
        ({"callbacks": Console()}, "callbacks must be of the kind Sequence, got Console; write"),
        ({"callbacks": [CSVLogger()]}, "callbacks must be of the kind Callback, got CSVLogger"),
    ],
)
def test_what_is_no_logger_or_no_callback_is_refused(given: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=re.escape(expected)):
        fit(**given)


@pytest.mark.slow
def test_loggers_that_cannot_be_written_down_do_not_hide_the_run(tmp_path: Path) -> None:
    fit(run=tmp_path, loggers=[Remember(), CSVLogger()])
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert content["loggers"] == [{"class_path": "pyrovae.training.loggers.CSVLogger"}]


@pytest.mark.slow
def test_wandb_gets_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    fit(run=tmp_path / "run", loggers=[WandbLogger()], progress=True)
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert len(list(folder.rglob("*.png"))) == 2
    printed, told = capfd.readouterr()
    assert "active_units" in told  # Its summary lists the first metrics only.
    assert not [line for line in printed.splitlines() if "WandbLogger" in line]


@pytest.mark.slow
def test_mlflow_gets_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    history = fit(2, run=tmp_path / "run", loggers=[MLflowLogger()], progress=True)
    assert "MLflowLogger" not in capfd.readouterr().out
    (found,) = mlflow.MlflowClient().search_runs(
        [mlflow.get_experiment_by_name("pyrovae").experiment_id]
    )
    assert found.info.run_name == "run" and found.info.status == "FINISHED"
    assert found.data.metrics["val_elbo"] == history["val_elbo"].iloc[-1]
    assert found.data.params["prior.latent_dim"] == "4"
    assert len(list((tmp_path / "store").rglob("*samples*.png"))) == 2


@pytest.mark.slow
def test_trackio_gets_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))  # Read when it is imported.
    printed = execute("train", *TINY, "--loggers=[TrackioLogger]", folder=tmp_path).stdout
    assert "TrackioLogger" not in printed
    with sqlite3.connect(tmp_path / "store" / "pyrovae.db") as store:
        ((step, metrics),) = store.execute("select step, metrics from metrics")
    assert step == 4 and {"val_elbo", "samples"} <= set(json.loads(metrics))
    assert len(list((tmp_path / "store" / "media").rglob("*.png"))) == 2


@pytest.mark.parametrize("kind", [WandbLogger, MLflowLogger, TrackioLogger])
def test_a_missing_package_is_one_line_that_names_the_extra(
    kind: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = kind.__module__.rpartition(".")[2]
    monkeypatch.setitem(sys.modules, package, None)
    assert len(fit(loggers=[kind()], progress=True)) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if kind.__name__ in line]
    assert found == [
        f"warning: {kind.__name__} cannot start, the run continues without it: {package} is not "
        f"installed; pip install 'pyrovae[{package}]'"
    ]


@pytest.mark.parametrize(
    ("logger", "project", "name"),
    [
        (WandbLogger("faces", "first"), call.init(project="faces"), call.init(name="first")),
        (TrackioLogger("faces", "first"), call.init(project="faces"), call.init(name="first")),
        (
            MLflowLogger("faces", "first"),
            call.set_experiment("faces"),
            call.start_run(run_name="first"),
        ),
    ],
)
def test_a_tracker_gets_the_project_and_the_name(
    logger: Any, project: Any, name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MagicMock()
    monkeypatch.setitem(sys.modules, type(logger).__module__.rpartition(".")[2], tracker)
    fit(loggers=[logger])
    for function, positional, named in (project, name):
        (given,) = [own for own in tracker.mock_calls if own[0] == function]
        assert given[1] == positional and named.items() <= given[2].items()


def test_old_names_in_a_configuration_are_renewed() -> None:
    old = ["pyrovae.training.loggers.Console", "pyrovae.inspection.PosteriorMonitor"]
    old += ["pyrovae.training.loggers.MetricsFile", "pyrovae.training.loggers.TensorBoard"]
    found = renewed({"loggers": [{"class_path": path} for path in old] + ["own.Mine"]})
    assert [entry["class_path"] for entry in found["callbacks"]] == [
        "pyrovae.training.callbacks.Console",
        "pyrovae.inspection.PosteriorMonitor",
    ]
    first, second, own = found["loggers"]
    assert first == {"class_path": "pyrovae.training.loggers.CSVLogger"} and own == "own.Mine"
    assert second == {"class_path": "pyrovae.training.loggers.TensorBoardLogger"}
    for kept in ({"loggers": ["CSVLogger", "own.Console"]}, {"loggers": 3}, {}):
        assert renewed(kept) == kept


@pytest.mark.slow
def test_a_run_with_old_names_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    assert run("train", [*TINY, f"--run_dir={root}"], monkeypatch) == 0
    content = yaml.safe_load((root / "config.yaml").read_text())
    del content["callbacks"]
    names = ["Console", "MetricsFile", "Pictures", "TensorBoard"]
    content["loggers"] = [{"class_path": f"pyrovae.training.loggers.{own}"} for own in names]
    (root / "config.yaml").write_text(yaml.safe_dump(content))
    from pyrovae.runs import load_checkpoint, save_checkpoint

    tensors, state = load_checkpoint(RunDirectory(root).last)
    save_checkpoint(RunDirectory(root).last, tensors, state | {"config": yaml.safe_dump(content)})
    capsys.readouterr()
    assert run("train", [f"--resume={root}", "--trainer.epochs=2"], monkeypatch) == 0
    assert len(rows(root)) == 2 and len(list((root / "tensorboard").iterdir())) == 2
    assert capsys.readouterr().out.count("epoch 2/2") == 1


@pytest.mark.slow
def test_a_logger_is_added_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    more = ["--loggers+=WandbLogger", "--loggers.project=mine", f"--run_dir={tmp_path}/run"]
    assert run("train", [*TINY, *more], monkeypatch) == 0
    assert "pip install 'pyrovae[wandb]'" in capsys.readouterr().out
    content = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["loggers"]
    assert [entry["class_path"].split(".")[-1] for entry in content] == [
        "CSVLogger",
        "TensorBoardLogger",
        "WandbLogger",
    ]
    assert content[2]["init_args"]["project"] == "mine"
