"""Files of a run that changed, or that another run wrote, after the run had written them."""

from __future__ import annotations

import builtins
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from pyrovae import Engine, InputError, Recipe, RunDirectory, Trainer
from pyrovae.evaluation import result_cache
from pyrovae.evaluation.result_cache import ResultCache
from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from pyrovae.training.loggers.events import EventFile
from pyrovae.training.rows import read_rows
from pyrovae.utils.files import replacing, temporary_for
from pyrovae.utils.plain import to_json
from tests.support.commands import TINY
from tests.support.commands import run as command
from tests.support.small import adam, small_data, small_vae, train

pytestmark = pytest.mark.usefixtures("without_pages")

BATCH = 16


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for name, lr in (("first", 1e-2), ("second", 2e-2)):
        train(Trainer(epochs=1, batch_size=BATCH), adam(lr), root / name)
    return root


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> RunDirectory:
    return RunDirectory(shutil.copytree(runs / "first", tmp_path / "run"))


def refused(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and all(w in message for w in words), message


@pytest.mark.slow
def test_best_weights_of_another_run_are_refused(run: RunDirectory, runs: Path) -> None:
    assert run.weights("best")
    shutil.copy(RunDirectory(runs / "second").best(1), run.best(1))
    refused(lambda: run.weights("best"), str(run.best(1)), "another run")
    assert run.weights("last")


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_a_damaged_last_checkpoint_leaves_the_best_weights_usable(
    run: RunDirectory, caplog: pytest.LogCaptureFixture, old: bool
) -> None:
    best = run.weights("best")
    state = {} if old else load_checkpoint(run.best(1))[1]
    tensors = {f"weights.{name}": value for name, value in best.items()}
    save_checkpoint(run.best(1), tensors, state)
    other = {name: torch.zeros_like(value) for name, value in tensors.items()}
    save_checkpoint(run.best(0), other, {} if old else state | {"epoch": 0, "val_elbo": -1e9})
    run.last.write_bytes(run.last.read_bytes()[:-100])
    weights, epoch = run.weights_of("best")
    assert epoch == 1 and all(torch.equal(weights[name], best[name]) for name in best)
    (line,) = caplog.messages
    assert line.startswith(f"{run.last}: cut off") and "uses best_epoch_0001" in line
    refused(lambda: run.weights("last"), f"{run.last}: cut off")
    refused(lambda: go_on(run), f"{run.last}: cut off")
    for path in run.last.parent.glob("best_*"):
        path.unlink()
    refused(lambda: run.weights("best"), f"{run.last}: cut off")


def test_a_last_checkpoint_of_another_run_is_the_named_cause(
    run: RunDirectory, runs: Path
) -> None:
    shutil.copy(RunDirectory(runs / "second").last, run.last)
    refused(lambda: go_on(run), str(run.best(1)), "of another run than last.safetensors")
    run.best(1).unlink()
    refused(lambda: go_on(run), str(run.best(1)), "or last.safetensors belongs to another run")


@pytest.mark.slow
def test_best_weights_of_another_epoch_are_refused_without_a_name_of_the_run(
    run: RunDirectory,
) -> None:
    tensors, state = load_checkpoint(run.best(1))
    save_checkpoint(run.best(1), tensors, {"val_elbo": state["val_elbo"]})
    assert run.weights("best")
    save_checkpoint(run.best(1), tensors, {"val_elbo": state["val_elbo"] + 1})
    refused(lambda: run.weights("best"), str(run.best(1)), "validation ELBO")


@pytest.mark.slow
def test_a_run_without_a_name_goes_on(run: RunDirectory) -> None:
    tensors, state = load_checkpoint(run.last)
    del state["run"]
    save_checkpoint(run.last, tensors, state)
    weights, best = load_checkpoint(run.best(1))
    save_checkpoint(run.best(1), weights, {"val_elbo": best["val_elbo"]})
    train(Trainer(epochs=3, batch_size=BATCH), run=run.root, resume=True)
    assert load_checkpoint(run.last)[1]["run"] and run.weights("best")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", "²"),
        ("epoch", -1),
        ("epoch", 1.5),
        ("epoch", True),
        ("step", None),
        ("best", 3),
        ("best", [[1.0]]),
        ("best", [["a", 1]]),
        ("best", [[1.0, "²"]]),
        ("images", 7),
        ("config", ["a"]),
        ("loss", "much"),
        ("run", 7),
    ],
)
def test_a_state_of_other_types_is_refused(run: RunDirectory, name: str, value: Any) -> None:
    tensors, state = load_checkpoint(run.last)
    save_checkpoint(run.last, tensors, state | {name: value})
    for call in (lambda: run.weights("last"), lambda: go_on(run)):
        refused(call, str(run.last), name)


@pytest.mark.parametrize("text", ["\0", "a: [", "[1]", "3", "beta: {value: 1"])
def test_a_configuration_in_a_checkpoint_that_is_none_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "run", "beta: {value: 1.0}\n")
    run.begin()
    save_checkpoint(run.last, {}, {"config": text})
    assert command("train", ["--resume", str(run.root)], monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize("name", ["images", "epoch", "batch", "step", "best", "config"])
def test_a_state_that_lacks_something_is_refused(run: RunDirectory, name: str) -> None:
    tensors, state = load_checkpoint(run.last)
    del state[name]
    save_checkpoint(run.last, tensors, state)
    refused(lambda: go_on(run), str(run.last), name)


def test_a_state_that_is_no_table_is_refused(run: RunDirectory) -> None:
    for state in ([], "text", None, 3):
        save_checkpoint(run.last, {}, state)  # type: ignore[arg-type]
        refused(lambda: run.weights("last"), str(run.last))
    tensors, _ = load_checkpoint(run.best(1))
    save_checkpoint(run.last, tensors | {"stranger": torch.ones(1)}, {})
    refused(lambda: go_on(run), str(run.last))


def test_a_checkpoint_that_lacks_a_tensor_is_refused(run: RunDirectory) -> None:
    for path in (run.last, run.best(1)):
        tensors, state = load_checkpoint(path)
        name = next(name for name in tensors if name.endswith("num_batches_tracked"))
        save_checkpoint(path, {n: t for n, t in tensors.items() if n != name}, state)
        which = "last" if path == run.last else "best"
        refused(partial(run.weights, which), str(path), f"holds {len(tensors) - 1} tensors")
        save_checkpoint(path, tensors, state)


def test_a_refused_run_keeps_its_configuration(run: RunDirectory) -> None:
    before = run.config.read_bytes()
    run.metrics.write_text("epoch\n1\n")
    again = RunDirectory(run.root, "beta: {value: 2.0}\n")
    call = partial(Trainer(epochs=2, batch_size=BATCH).fit, small_vae(), small_data(), adam())
    refused(lambda: call(Engine("cpu", "fp32"), run=again, resume=True), str(run.metrics))
    assert run.config.read_bytes() == before


def go_on(run: RunDirectory) -> None:
    train(Trainer(epochs=2, batch_size=BATCH), run=run.root, resume=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n1,5,", "\n²,5,"),
        ("\n1,5,", "\n١,5,"),
        ("\n1,5,", "\n1,\0,"),
        ("\n1,5,", "\n1,much,"),
        ("\n1,5,", "\n1,5,5,"),
        ("\n1,5,", f"\n{'9' * 5000},5,"),
        ("\n1,5,", "\n"),
        ("epoch,step", "step,epoch"),
        ("noise_scale", "noise_scalf"),
    ],
)
def test_metrics_of_other_content_are_refused(run: RunDirectory, old: str, new: str) -> None:
    text = run.metrics.read_text()
    assert old in text and read_rows(run.metrics)
    run.metrics.write_text(text.replace(old, new), encoding="utf-8")
    refused(lambda: go_on(run), str(run.metrics), "remove it")


@pytest.mark.slow
def test_warnings_and_configurations_that_are_no_text(run: RunDirectory) -> None:
    run.warnings.write_bytes(b"\xff\xfe\0")
    go_on(run)
    for path in run.last.parent.iterdir():
        path.unlink()
    run.config.write_bytes(b"\xff\xfe\0")
    refused(run.check_free, str(run.root), "holds a run already")


def table(x: float) -> pd.DataFrame:
    values = [x, math.nan, math.inf, -math.inf, 0.1 + 0.2]
    return pd.DataFrame({"x": values, "name": ["nan", "a", "b", "c", "d"], "n": range(5)})


def test_the_journal_keeps_what_is_not_finite_without_writing_nan(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(
        ResultCache(tmp_path, {}).get("a", lambda: table(1.0)), table(1.0), check_exact=True
    )
    (path,) = tmp_path.iterdir()

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize("old, new", [("1.0", "3.0"), ('"a"', '"b"'), ("[0, 1", "[0, 7")])
def test_the_journal_notices_other_numbers(tmp_path: Path, old: str, new: str) -> None:
    own = ResultCache(tmp_path, {})
    own.get("a", lambda: table(1.0))
    (path,) = tmp_path.iterdir()
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    pd.testing.assert_frame_equal(own.get("a", lambda: table(2.0)), table(2.0))


def test_the_journal_knows_the_code_that_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ResultCache(tmp_path, {})
    assert own.get("a", lambda: table(1.0))["x"][0] == 1
    assert own.get("a", lambda: table(2.0))["x"][0] == 1
    monkeypatch.setattr(result_cache, "code_print", lambda: "other code")
    assert own.get("a", lambda: table(2.0))["x"][0] == 2


def test_the_journal_refuses_another_table_of_the_same_run(tmp_path: Path) -> None:
    own = ResultCache(tmp_path, {})
    own.get("a", lambda: table(1.0))
    own.get("b", lambda: table(2.0))
    a, b = sorted(tmp_path.iterdir())
    a.write_bytes(b.read_bytes())
    assert own.get("a", lambda: table(3.0))["x"][0] == 3


def test_json_holds_no_nan() -> None:
    given = {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf, "d": True, "e": None}}
    wanted = {"a": [None, [None, 1.5]], "b": {"c": None, "d": True, "e": None}}
    assert json.loads(to_json(given)) == wanted


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "evaluation_images.csv"
    here = temporary_for(path).name.split("@")[1].removesuffix(".tmp")
    writers = (99999999, os.getppid(), 99999998, f"99999998@{here}", "99999998@elsewhere")
    left = [tmp_path / f".{path.name}.{writer}.tmp" for writer in writers]
    for file in left:
        file.touch()
    for file in left[:2]:
        os.utime(file, (1, 1))
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert [file.exists() for file in left] == [False, True, True, False, True]
    RunDirectory(tmp_path).tidy([])
    assert not any(file.exists() for file in left)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev/full")
def test_the_rules_of_windows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There `fsync` takes only what is open for writing, and open files cannot be removed."""
    import fcntl

    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced.append(descriptor)

    def refuse_open(path: Any, *args: Any, **kwargs: Any) -> None:
        for descriptor in os.listdir("/proc/self/fd"):
            if os.path.realpath(f"/proc/self/fd/{descriptor}") == os.path.realpath(path):
                raise PermissionError(errno.EACCES, "used by another process", str(path))
        unlink(path, *args, **kwargs)

    unlink = os.unlink
    for name in ("unlink", "remove"):
        monkeypatch.setattr(os, name, refuse_open)
    monkeypatch.setattr(os, "fsync", fsync)
    train(Trainer(epochs=1, batch_size=BATCH), run=tmp_path / "run")
    assert synced and RunDirectory(tmp_path / "run").weights("best")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev/full")
def test_a_full_disk_stops_the_event_file_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original = builtins.open

    def full(path: Any, *args: Any, **kwargs: Any) -> Any:
        return original("/dev/full" if "tfevents" in str(path) else path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", full)
    run = tmp_path / "run"
    Trainer(epochs=1, batch_size=BATCH).fit(small_vae(), small_data(), run=run, progress=True)
    printed, wrong = capfd.readouterr()
    found = [line for line in printed.splitlines() if "TensorBoardLogger" in line]
    assert len(found) == 1 and "No space left" in found[0] and "Traceback" not in wrong
    assert RunDirectory(run).weights("last")


def test_an_event_file_whose_directory_goes_is_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = EventFile(tmp_path / "tensorboard", 1)
    shutil.rmtree(tmp_path / "tensorboard")
    for step in range(3):
        file.add_scalar("a", 1.5, step)
        file.flush()
    file.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_an_epoch_without_a_finite_step_ends_the_run(tmp_path: Path) -> None:
    from pyrovae.utils.signals import Diverged

    vae = small_vae()
    vae.model.decoder.register_forward_hook(lambda module, z, h: h * math.inf)
    with pytest.raises(Diverged, match="none of the 5 steps of epoch 1 was finite"):
        train(Trainer(epochs=3, batch_size=BATCH), Recipe(), tmp_path / "run", vae=vae)


@pytest.mark.slow
def test_a_result_that_is_not_finite_exits_1_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*TINY, "--optimizer.lr=1e30", f"--run_dir={tmp_path / 'run'}"]
    assert command("train", given, monkeypatch) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the result on the test split is not finite")
    assert error.count("\n") == 1
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text(), parse_constant=None)
    assert found["vae"]["elbo"]["value"] is None
    state = load_checkpoint(RunDirectory(tmp_path / "run").last)[1]
    assert state["epoch"] == 1 and state["best"] == []
