"""The list of runs: their order, state and differences, and what is no run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pyrovae import InputError, list_runs
from pyrovae.runs import RunDirectory, load_checkpoint, save_checkpoint
from tests.support.commands import run
from tests.support.scored import unscored


@pytest.fixture
def runs(tiny_run: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with runs of two priors, a folder deeper."""
    folder = tmp_path / "runs"
    for name, options in (("a", []), ("deep/b", ["--prior=GaussianMixture"])):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        unscored(tiny_run(*options), folder / name)
    return folder


def test_the_best_run_is_first(runs: Path) -> None:
    table = list_runs(runs)
    assert table.elbo.is_monotonic_decreasing and set(table.state) == {"ended"}
    for row in table.itertuples():
        history = pd.read_csv(Path(row.run) / "metrics.csv")
        assert row.elbo == history.val_elbo.max()
        assert row.best_epoch == history.epoch[history.val_elbo.idxmax()]
    differ = dict(zip(table.run, table.options, strict=True))
    assert differ[str(runs / "deep" / "b")] == "prior GaussianMixture"


def test_scores_and_missing_files_are_read_as_they_are(runs: Path) -> None:
    scores: dict[str, Any] = {"split": "test", "vae": {"elbo": {"value": -7.5, "error": 0.25}}}
    scores["num_images"] = 40
    (runs / "a" / "evaluation.json").write_text(json.dumps(scores))
    (runs / "deep" / "b" / "metrics.csv").unlink()
    table = list_runs(runs).set_index("run")
    first, last = table.loc[str(runs / "a")], table.loc[str(runs / "deep" / "b")]
    assert (first.test, first.error, first.test_images) == (-7.5, 0.25, 40)
    assert last.state == "no epoch" and pd.isna(last.elbo) and pd.isna(last.test)
    assert list(table.index)[-1] == str(runs / "deep" / "b")
    best = int(first.best_epoch)
    for other in ({"split": "val"}, {"epoch": best + 1}):
        (runs / "a" / "evaluation.json").write_text(json.dumps(scores | other))
        assert list_runs(runs)[["test", "test_images"]].isna().all(axis=None)
    (runs / "a" / "evaluation.json").write_text(json.dumps(scores | {"epoch": best}))
    assert list_runs(runs).test.max() == -7.5


@pytest.mark.parametrize(
    "text", ["[]", "7", "{", '{"vae": []}', '{"vae": {"elbo": {"value": "x"}}}']
)
def test_a_damaged_evaluation_has_no_score(runs: Path, text: str) -> None:
    (runs / "a" / "evaluation.json").write_text(text)
    assert list_runs(runs).test.isna().all()


def test_a_repeated_header_and_odd_rows_of_metrics_are_left_out(runs: Path) -> None:
    head, row = "epoch,val_elbo,val_bits_per_dim", "2,-7.5,0.5"
    lines = [head, "1,-9,0.6", head, row, "x,-1,0.1", "inf,-1,0.1", "3,inf,0.1", "4,,"]
    (runs / "a" / "metrics.csv").write_text("\n".join(lines))
    found = list_runs(runs).set_index("run").loc[str(runs / "a")]
    assert (found.best_epoch, found.elbo, found.bits_per_dim) == (2, -7.5, 0.5)
    (runs / "a" / "metrics.csv").write_text(f"{head}\n{head}\n")
    assert list_runs(runs).set_index("run").state[str(runs / "a")] == "no epoch"


def test_only_runs_are_listed_with_their_state(runs: Path) -> None:
    inner = runs / "a" / "wandb" / "files"
    inner.mkdir(parents=True)
    (inner / "config.yaml").write_text("wandb: 1\n")
    # A configuration beside runs hides none of them.
    (runs / "config.yaml").write_text("trainer: {epochs: 1}\n")
    shared = runs / "shared"
    shutil.copytree(runs / "a", shared, ignore=shutil.ignore_patterns("wandb", "metrics.csv"))
    (shared / "checkpoints" / "last.safetensors").rename(shared / "model.safetensors")
    shutil.rmtree(shared / "checkpoints")
    tensors, state = load_checkpoint(path := RunDirectory(runs / "deep" / "b").last)
    save_checkpoint(path, tensors, state | {"epochs": state["epoch"] + 9})
    found = dict(zip(*(list_runs(runs)[name] for name in ("run", "state")), strict=True))
    assert found == {
        str(runs): "no epoch",
        str(runs / "a"): "ended",
        str(runs / "deep" / "b"): f"epoch {state['epoch']} of {state['epoch'] + 9}",
        str(shared): "shared",
    }


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder$"):
        list_runs(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no run in this folder or its subfolders$"):
        list_runs(tmp_path)


def test_the_command_prints_a_row_per_run(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs, runs.parent / "elsewhere")
    monkeypatch.chdir(runs.parent)
    assert run("list_runs", [], monkeypatch) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and said[0].startswith("run ") and said[0].endswith("differs in")
    assert {line.split()[0] for line in said[1:3]} == {"runs/a", "runs/deep/b"}
    assert run("list_runs", ["runs", "elsewhere"], monkeypatch) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
