"""The script that reports on a run: what it says and writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pyrovae import RunDirectory
from tests.support.commands import TINY, refusal, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the script's."""
    root = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        command = [*TINY, "--data.num_val=24", "--data.num_test=40", f"--run_dir={root}"]
        assert run("train", command, patch) == 0
    return root


def test_the_script_reports_on_a_run(
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = trained_run
    Image.new("RGB", (30, 40), (200, 150, 100)).save(tmp_path / "face.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    command = [str(root), "--quick", "--num_images=20", "--sections", "collapse", "posterior"]
    assert (
        run("inspect_posterior", [*command, "--images", f"{tmp_path}/face.png"], monkeypatch) == 0
    )
    shown = capsys.readouterr().out
    page = root / "posterior" / "report_collapse_posterior.html"
    assert "latent dimensions are active" in shown and str(page) in shown
    assert "face.png" in (root / "posterior" / "posterior_predictive.csv").read_text()
    images = ["test:3", f"{tmp_path}/broken.png", "test:999"]
    assert run("inspect_posterior", [*command, "--images", *images], monkeypatch) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("error: ") and "broken.png" in errors[-1]
    assert (
        "allowed are the images 0 to 39 of test" in errors[-1] and "broken.png" in page.read_text()
    )
    assert "test:3" in (root / "posterior" / "posterior_predictive.csv").read_text()


def test_what_is_misspelt_is_left_out_and_the_rest_made(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(trained_run), "--quick", "--num_images=20", "--sections", "program", "hole"]
    command += ["--attributes", "gaze", "gazee", "--sites", "z", "y"]
    assert run("inspect_posterior", command, monkeypatch) == 2
    shown = capsys.readouterr()
    assert "program: The model draws z" in shown.out and "left out: unknown site 'y'" in shown.out
    last = shown.err.strip().splitlines()[-1]
    for word in ("section 'hole' (did you mean holes?)", "site 'y'", "attribute 'gazee'"):
        assert f"unknown {word}" in last


BAD = {
    "no run": (["{tmp}/nothing"], "no such directory"),
    "section": (["{run}", "--sections", "hole"], "unknown section 'hole'"),
    "split": (["{run}", "--split", "all"], "train, val, test"),
    "site": (["{run}", "--quick", "--sections", "collapse", "--sites", "y"], "unknown site 'y'"),
    "too few": (["{run}", "--num_images=1", "--sections", "collapse"], "at least 2 images, got 1"),
    "images": (["{run}", "--num_images=-1"], "num_images"),
    "seed": (["{run}", "--seed=-1"], "seed"),
    "checkpoint": (["{run}", "--checkpoint", "worst"], "allowed are best and last"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(
    name: str,
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, said = BAD[name]
    command = [word.format(tmp=tmp_path, run=trained_run) for word in arguments]
    assert said in refusal("inspect_posterior", command, monkeypatch, capsys)


def test_other_weights_and_images_replace_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    assert run("train", [*TINY, "--trainer.epochs=2", f"--run_dir={root}"], monkeypatch) == 0
    command = [str(root), "--quick", "--num_images=8", "--sections", "program"]
    places = {
        "posterior": [],
        "posterior_last": ["--checkpoint=last"],
        "posterior_last_val": ["--checkpoint=last", "--split=val"],
    }
    for place, more in places.items():
        assert run("inspect_posterior", [*command, *more], monkeypatch) == 0
        which = "last" if more else "best"
        _, epoch = RunDirectory(root).weights_of(which)
        page = (root / place / "report_program.html").read_text()
        assert f"Weights: epoch {epoch} (the {which} checkpoint)." in page
    assert {path.name for path in root.glob("posterior*")} == set(places)
