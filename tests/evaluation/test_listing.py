"""The list of runs: their order, state and differences, and what is no run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pyrovae import InputError, list_runs
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
    scores = {"split": "test", "vae": {"elbo": {"value": -7.5, "error": 0.25}}}
    (runs / "a" / "evaluation.json").write_text(json.dumps(scores))
    (runs / "deep" / "b" / "metrics.csv").unlink()
    table = list_runs(runs).set_index("run")
    first, last = table.loc[str(runs / "a")], table.loc[str(runs / "deep" / "b")]
    assert (first.test, first.error) == (-7.5, 0.25)
    assert last.state == "no epoch" and pd.isna(last.elbo) and pd.isna(last.test)
    assert list(table.index)[-1] == str(runs / "deep" / "b")
    scores["split"] = "val"
    (runs / "a" / "evaluation.json").write_text(json.dumps(scores))
    assert list_runs(runs).test.isna().all()


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
