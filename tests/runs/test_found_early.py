"""What is wrong with a run is found before the work begins, and said by the exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyrovae import ImageData, RunDirectory
from tests.support.commands import TINY, run

Error = pytest.CaptureFixture[str]


@pytest.fixture
def two_epochs(tmp_path: Path, trained: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.slow
def test_damaged_best_weights_are_found_before_the_first_step(
    two_epochs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Error
) -> None:
    (best,) = two_epochs.glob("checkpoints/best_*")
    best.write_bytes(best.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    assert run("train", [f"--resume={two_epochs}", "--trainer.epochs=2"], monkeypatch) == 2
    printed = capsys.readouterr()
    assert "epoch 2/2" not in printed.out and "wrong checksum" in printed.err


@pytest.mark.slow
def test_an_empty_table_of_epochs_is_refused(
    two_epochs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Error
) -> None:
    (two_epochs / "metrics.csv").write_text("")
    assert run("train", [f"--resume={two_epochs}", "--trainer.epochs=2"], monkeypatch) == 2
    assert "metrics.csv: is empty; remove it" in capsys.readouterr().err


@pytest.mark.slow
def test_scores_that_are_not_finite_are_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Error
) -> None:
    root = tmp_path / "run"
    assert run("train", [*TINY, f"--run_dir={root}", "--optimizer.lr=1e30"], monkeypatch) == 1
    if RunDirectory(root).has_checkpoint():
        arguments = [str(root), "--sections", "elbo", "--device=cpu", "--checkpoint=last"]
        capsys.readouterr()
        assert run("evaluate", arguments, monkeypatch) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_a_data_set_need_not_say_that_it_is_not_mirrored() -> None:
    assert ImageData.flip is False


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("evaluate", "RUN"),
        ("sample", "RUN"),
        ("inspect_posterior", "RUN"),
        ("export", "RUN --out OUT"),
        ("inpaint", "RUN IMAGE --mask MASK"),
    ],
)
def test_a_run_that_is_not_named_is_one_line(
    name: str, needed: str, monkeypatch: pytest.MonkeyPatch, capsys: Error
) -> None:
    assert run(name, [], monkeypatch) == 2
    assert capsys.readouterr().err.endswith(f": needs {needed}\n")
    assert run(name, ["--help"], monkeypatch) == 0
    assert f" {needed} [options]\n" in capsys.readouterr().out
