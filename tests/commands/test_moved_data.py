"""Commands on a run whose images have moved since it was trained."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from pyrovae import ImageFolder, InputError, Trainer
from pyrovae.commands.evaluate import score_run
from pyrovae.commands.explore import opened
from pyrovae.commands.inspect import open_subject
from pyrovae.evaluation.scoring import Options
from pyrovae.runs.free import PLACES
from tests.support.commands import TINY, folder_of_images, mask, refusal, run, script
from tests.support.small import small_vae

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

OPTIONS = {
    "evaluate": ["--sections=elbo"],
    "inspect_posterior": ["--quick", "--sections=posterior"],
    "sample": ["--reconstruct", "test:0", "test:1", "--out=out.png"],
    "inpaint": ["test:0", "--mask=mask.png", "--num=2", "--draws=20", "--out=out.png"],
    "explore": ["--num_images=4"],
}


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The new place of the images of the run `run` in the current directory."""
    monkeypatch.chdir(tmp_path)
    folder_of_images(tmp_path / "old")
    line = [own for own in TINY if not own.startswith("--data.num")]
    data = ["--data=ImageFolder", "--data.root=old", "--trainer.batch_size=4"]
    assert run("train", [*line, *data, "--run_dir=run"], monkeypatch) == 0
    mask(tmp_path / "mask.png", 16, 16)
    return (tmp_path / "old").rename(tmp_path / "new")


def test_every_command_that_opens_a_run_takes_the_new_place(
    moved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"--data.root={moved}"
    for name, options in OPTIONS.items():
        line = ["run", *options]
        assert "old: no such folder" in refusal(name, line, monkeypatch, capsys), name
        if name != "explore":
            assert run(name, [*line, place], monkeypatch) == 0, name
    options = script("explore").parser().parse_args(["run", *OPTIONS["explore"], place])
    assert opened(options)[0].names
    found = score_run("run", Options(), ["elbo"], places={"root": str(moved)})
    assert "elbo" in found.scores["vae"]


def test_a_place_that_the_data_lack_is_refused(
    moved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del moved
    said = refusal("evaluate", ["run", "--data.path=new"], monkeypatch, capsys)
    allowed = "--data.root, --data.attributes, --data.cache_dir"
    assert said == f"error: --data.path: the images of run are ImageFolder; allowed are {allowed}"
    said = refusal("evaluate", ["run", "--data.root=none"], monkeypatch, capsys)
    assert said.startswith("error: none: no such folder in ")


def test_commands_that_draw_from_a_run_have_the_same_options() -> None:
    for name in OPTIONS:
        known = script(name).parser().format_help()
        assert all(f"--data.{own} " in known for own in PLACES), name


def test_new_images_are_scored_one_by_one_without_the_table_of_the_old_ones(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{i}.png,{i}" for i in range(30)]
    (tmp_path / "old.csv").write_text("\n".join(["file,age", *rows]))
    line = [own for own in TINY if not own.startswith("--data.num")]
    line += ["--data=ImageFolder", f"--data.root={moved}", "--data.attributes=old.csv"]
    line += ["--data.val_fraction=0.7", "--trainer.batch_size=4", "--run_dir=two"]
    assert run("train", line, monkeypatch) == 0
    other = folder_of_images(tmp_path / "other")
    for path in other.iterdir():
        path.rename(other / f"other_{path.name}")
    place = ["--data.root=other", "--data.attributes=null"]
    assert run("evaluate", ["two", "--sections=elbo", *place], monkeypatch) == 0
    options = ["--quick", "--sections=typical", "--images=other", "--out=scores"]
    assert run("inspect_posterior", ["two", *options], monkeypatch) == 0
    table = pandas.read_csv("scores/typical_typical_shown.csv")
    assert set(table.image) == {f"other/{own.name}" for own in other.iterdir()}
    assert table.p_value.between(0, 1).all() and "row" not in table


def test_a_run_without_test_images_is_inspected_on_others(moved: Path, tmp_path: Path) -> None:
    data = ImageFolder(str(moved), image_size=16, test_fraction=0)
    Trainer(epochs=1, batch_size=8).fit(small_vae(), data, run=tmp_path / "two")
    subject, _ = open_subject(tmp_path / "two", split="val")
    assert subject.held_out is None and subject.name == "val"
    with pytest.raises(InputError, match="none of the 30 images is in the test split"):
        open_subject(tmp_path / "two")
