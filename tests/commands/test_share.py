"""`pyrovae share`: a folder that opens by itself, and holds nothing of the machine."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pyrovae
from pyrovae import InputError, RunDirectory
from pyrovae.commands import share
from pyrovae.commands.share import public
from pyrovae.evaluation.estimates import Estimate
from tests.support.commands import TINY, folder_of_images, refusal, run

pytestmark = pytest.mark.usefixtures("without_pages")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder of images, with absolute paths in its configuration."""
    root = tmp_path_factory.mktemp("secret_name")
    data = ["--data=ImageFolder", f"--data.root={folder_of_images(root / 'faces')}"]
    data += [f"--data.cache_dir={root / 'cache'}", "--data.image_size=16"]
    options = [option for option in TINY if not option.startswith("--data")]
    with pytest.MonkeyPatch.context() as patch:
        assert run("train", [*data, *options, f"--run_dir={root / 'run'}"], patch) == 0
    return root / "run"


@pytest.fixture(scope="module")
def shared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shared") / "model"
    share.main([str(source), "--out", str(out)])
    return out


@pytest.mark.slow
def test_a_shared_run_opens_with_the_weights_of_the_run(shared: Path, source: Path) -> None:
    expected = RunDirectory(source).weights("best")
    for which in ("best", "last"):
        found = pyrovae.load(shared, which).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.slow
def test_the_folder_holds_what_a_hub_shows_and_no_paths(shared: Path, source: Path) -> None:
    names = sorted(path.name for path in shared.rglob("*"))
    pictures = ["reconstructions.png", "samples.png"]
    assert names == ["README.md", "config.yaml", "model.safetensors", *pictures]
    for path in shared.iterdir():
        for private in (str(source.parent), "secret_name", str(Path.home())):
            assert private.encode() not in path.read_bytes(), path
    config = yaml.safe_load((shared / "config.yaml").read_text())
    assert config["data"]["init_args"]["root"] == "data"
    assert "cache_dir" not in config["data"]["init_args"]
    front, card = (shared / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    assert yaml.safe_load(front)["library_name"] == "pyrovae"
    assert "VAE of ImageFolder" in card and "| `prior` | StandardNormal | latent_dim 4 |" in card
    assert all(f"]({name})" in card for name in pictures)
    assert "pyrovae.load(folder)" in card


@pytest.mark.slow
def test_the_card_has_the_evaluation_of_these_weights_only(
    source: Path, shared: Path, tmp_path: Path
) -> None:
    scores = json.loads((source / "evaluation.json").read_text())
    row = f"{Estimate(**scores['vae']['elbo']):,.2f}"
    assert "## Evaluation" in (text := (shared / "README.md").read_text()) and row in text
    copied = shutil.copytree(source, tmp_path / "run")
    for content in ({"weights": "of another run"}, {"vae": 3}):
        (copied / "evaluation.json").write_text(json.dumps(scores | content))
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        share.main([str(copied), "--out", str(out)])
        assert "## Evaluation" not in (out / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("few", "said"), [(0, "per image"), (2, "of 2 images")])
def test_the_card_says_how_many_images_have_draws(
    few: int, said: str, source: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(source, tmp_path / "run")
    scores = json.loads((copied / "evaluation.json").read_text())
    scores |= {"num_samples": 70, "evidence_images": few}
    scores["vae"]["log_evidence"] = scores["vae"]["elbo"]
    (copied / "evaluation.json").write_text(json.dumps(scores))
    share.main([str(copied), "--out", str(tmp_path / "out")])
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"log p(x) from 70 draws {said}:" in card


@pytest.mark.slow
def test_commands_open_a_shared_run(
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "samples.png"
    assert run("sample", [str(shared), "--num=4", f"--out={picture}"], monkeypatch) == 0
    assert picture.exists()
    capsys.readouterr()
    assert "holds weights only, which cannot be resumed; --init_from" in refusal(
        "train", [f"--resume={shared}"], monkeypatch, capsys
    )
    out = f"--run_dir={tmp_path / 'run'}"
    assert run("train", [*TINY, f"--init_from={shared}", out], monkeypatch) == 0
    assert f"starts from {shared} (epoch 1): copies" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_of_the_card_states_the_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributes = "--program.attributes=[skin_tone, yaw]"
    options = [*TINY, "--program=ConditionalVAE", attributes, f"--run_dir={tmp_path / 'run'}"]
    assert run("train", options, monkeypatch) == 0
    share.main([str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    card = (tmp_path / "out" / "README.md").read_text()
    (line,) = [own for own in card.splitlines() if own.startswith("pyrovae sample FOLDER")]
    given = shlex.split(line)[3:]
    assert given[2] == "--given" and given[3].startswith("skin_tone=")
    monkeypatch.chdir(tmp_path)

    def absent(*_: object) -> None:
        raise InputError("no images")

    monkeypatch.setattr("pyrovae.SyntheticFaces.split", absent)
    assert run("sample", ["out", *given], monkeypatch) == 0
    assert Path("samples.png").exists()


def test_what_cannot_be_opened_is_not_shared(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        share.main([str(source), "--out", str(source)])
    copied = shutil.copytree(source, tmp_path / "run")
    config = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(config.replace("latent_dim: 4", "latent_dim: 5"))
    with pytest.raises(InputError, match="cannot be rebuilt"):
        share.main([str(copied), "--out", str(tmp_path / "out")])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/me/faces", "data"),
        ("~/faces.npy", "data.npy"),
        ("C:\\Users\\me", "data"),
        ("../me/x.h5", "data.h5"),
        ("MNIST", "MNIST"),
        ("data/celeba", "data/celeba"),
        ("their_name/celeba", "data"),
        (["/a", {"root": "/b", "cache_dir": "x"}, 3], ["data", {"root": "data"}, 3]),
    ],
)
def test_paths_of_the_machine_are_replaced(
    value: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "their_name")
    assert public({"data": value, "init_from": "/a", "loggers": []}) == {"data": expected}


@pytest.mark.slow
def test_own_modules_come_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared_own_part.py").write_text(
        "from pyrovae import StandardNormal\nclass Mine(StandardNormal):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    options = [*TINY, "--prior=shared_own_part.Mine", "--run_dir=run"]
    assert run("train", options, monkeypatch) == 0
    assert "names shared_own_part.Mine" in refusal(
        "share", ["run", "--out=out"], monkeypatch, capsys
    )
    assert run("share", ["run", "--out=out", "--trust"], monkeypatch) == 0
    assert "parts/ holds your own modules" in capsys.readouterr().out
    assert [path.name for path in Path("out/parts").iterdir()] == ["shared_own_part.py"]
    assert "pyrovae.load(folder, trust=True)" in Path("out/README.md").read_text()
