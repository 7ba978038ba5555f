"""Run directories that the commands refuse or resume: other options, damaged files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import pyrovae
from pyrovae import InputError, RunDirectory
from tests.support.commands import TINY, run


def copied(finished: Path, folder: Path) -> Path:
    """A copy of a finished run, to go on with or to damage."""
    return Path(shutil.copytree(finished, folder / "run"))


@pytest.mark.slow
def test_a_directory_that_holds_a_run_is_refused(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert run("train", [*TINY, f"--run_dir={trained}"], monkeypatch) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--optimizer.lr=0.5", "--optimizer.lr"),
        ("--prior.latent_dim=5", "--prior.latent_dim"),
        ("--likelihood=Normal", "--likelihood"),
        ("--trainer.seed=3", "--trainer.seed"),
    ],
)
def test_resuming_refuses_changed_options_by_name(
    option: str,
    named: str,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", [f"--resume={trained}", option], monkeypatch) == 2
    assert f"error: {named}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("without_pages")
def test_resuming_a_finished_run_says_so_and_a_longer_one_goes_on(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = copied(trained, tmp_path)
    assert run("train", [f"--resume={root}"], monkeypatch) == 0
    assert run("train", [f"--resume={root}", "--trainer.epochs=3"], monkeypatch) == 0
    assert "epoch 3/3" in capsys.readouterr().out
    assert yaml.safe_load((root / "config.yaml").read_text())["trainer"]["epochs"] == 3
    assert run("train", [f"--resume={root}", "--trainer.epochs=2"], monkeypatch) == 2
    assert "a resumed run takes 3 epochs, as before, or more" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00", b"epoch,step\nx"])
def test_damaged_metrics_are_refused(
    content: bytes,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = copied(trained, tmp_path)
    (root / "metrics.csv").write_bytes(content)
    assert run("train", [f"--resume={root}", "--trainer.epochs=2"], monkeypatch) == 2
    assert "metrics.csv" in capsys.readouterr().err


@pytest.mark.slow
def test_an_edited_configuration_is_refused_by_name(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = copied(trained, tmp_path)
    text = (root / "config.yaml").read_text()
    (root / "config.yaml").write_text(text.replace("value: 1.0", "value: 2.0"))
    assert run("train", [f"--resume={root}", "--trainer.epochs=2"], monkeypatch) == 2
    error = capsys.readouterr().err
    assert "one was edited: they differ in --beta.value (1.0 and 2.0)" in error


@pytest.mark.slow
def test_resuming_into_another_directory_is_refused(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", [f"--resume={trained}", "--run_dir=elsewhere"], monkeypatch) == 2
    assert "--run_dir" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "changed", "pickle", "missing", "foreign"])
def test_a_damaged_checkpoint_is_refused(
    damage: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = copied(trained, tmp_path)
    last = RunDirectory(root).last
    data = last.read_bytes()
    if damage == "cut":
        last.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        last.write_bytes(data[:-10] + bytes(255 - byte for byte in data[-10:]))
    elif damage == "pickle":
        torch.save({"weights": torch.zeros(3)}, last)
    elif damage == "missing":
        last.unlink()
    else:
        save_file({"weights": torch.zeros(3)}, last)
    assert run("train", [f"--resume={root}", "--trainer.epochs=2"], monkeypatch) == 2
    error = capsys.readouterr().err
    assert "last.safetensors" in error
    assert error.count("\n") == 1
    with pytest.raises(InputError, match="last.safetensors"):
        pyrovae.load(root, "last")
    best = pyrovae.load(root)
    assert RunDirectory(root).best(1).is_file() and best.sample(1).isfinite().all()
    for command in (["sample", "--num=1", f"--out={root}.png"], ["evaluate", "--sections=elbo"]):
        assert run(command[0], [str(root), *command[1:]], monkeypatch) == 0


def test_load_gives_back_the_trained_vae_and_its_preprocessing(
    trained: Path, tmp_path: Path
) -> None:
    vae = pyrovae.load(trained)
    weights = RunDirectory(trained).weights("best")
    assert not vae.training
    assert all(torch.equal(value, weights[name]) for name, value in vae.state_dict().items())
    Image.new("L", (40, 30), 200).save(tmp_path / "a.png")
    image = vae.preprocess(tmp_path / "a.png")
    assert image.shape == (3, 16, 16) and image.dtype == torch.uint8
    assert vae.reconstruct(image[None]).shape == (1, 3, 16, 16)


@pytest.mark.slow
@pytest.mark.usefixtures("without_pages")
def test_load_tells_best_from_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*TINY, f"--run_dir={tmp_path}/run", "--trainer.epochs=4", "--optimizer.lr=0.3"]
    assert run("train", arguments, monkeypatch) == 0
    last = pyrovae.load(tmp_path / "run", "last").state_dict()
    stored = RunDirectory(tmp_path / "run").weights("last")
    assert all(torch.equal(last[name], stored[name]) for name in last)


def test_a_run_whose_parts_are_gone_is_one_line(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("pyrovae.StandardNormal", "gone.Normal"))
    with pytest.raises(InputError, match=r"config.yaml: --prior: names gone.Normal.*--trust"):
        pyrovae.load(tmp_path / "run")
    with pytest.raises(InputError, match=r"config.yaml: --prior: .*No module named 'gone'"):
        pyrovae.load(tmp_path / "run", trust=True)
