"""`--run_dir D --resume auto`: one command line that starts a run and goes on with it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pyrovae import InputError, RandomStart, Recipe, RunDirectory, Trainer
from pyrovae.commands.evaluate import score_run
from pyrovae.config.options import parse_run, train_parser
from pyrovae.config.presets import preset_path
from pyrovae.evaluation.scoring import Options
from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from pyrovae.training.callbacks import RunPage
from tests.support.commands import TINY, folder_of_images, run
from tests.support.small import rows
from tests.support.small import train as fit

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

DEFAULT = "default"
Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Train:
    """Runs the training script in `tmp_path`: its exit code, and what it prints."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run("train", list(arguments), monkeypatch)
        return code, *capsys.readouterr()

    return command


#: Curves and event files are not looked at.
PLAIN = [*TINY, "--callbacks=[]", "--loggers=[CSVLogger]"]
ONCE = [*PLAIN, "--run_dir=run", "--resume=auto"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunPage, "end_epoch", lambda self, epoch: None)
        assert run("train", [*PLAIN, f"--run_dir={root}"], patch) == 0
    return root


def begun(root: Path, kept: list[str]) -> None:
    """Leaves of a finished run what it had written when it was killed."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file() and str(path.relative_to(root)) not in kept:
            path.unlink()


@pytest.mark.parametrize(
    "kept", [None, [".lock"], ["config.yaml"], ["checkpoints/last.safetensors"]]
)
def test_a_run_without_config_or_checkpoint_starts(
    kept: list[str] | None, train: Train, finished: Path, tmp_path: Path
) -> None:
    if kept is not None:
        shutil.copytree(finished, tmp_path / "run")
        (tmp_path / "run" / ".lock").touch()
        begun(tmp_path / "run", kept)
    code, said, errors = train(*ONCE)
    assert (code, errors) == (0, "") and "starts from" in said and "epoch 1/1" in said
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1"]


def test_a_run_that_is_there_goes_on_by_the_same_command(train: Train, tmp_path: Path) -> None:
    assert train(*ONCE)[0] == 0
    first = load_checkpoint(RunDirectory("run").last)[1]
    code, said, errors = train(*ONCE)
    assert (code, errors) == (0, "")
    assert "1 of 1 epoch done" in said and "test, 16 images" in said
    assert "starts from" not in said and "epoch 1/1" not in said
    code, said, _ = train(*ONCE, "--trainer.epochs=2")
    assert (
        code == 0 and "continues after step 4 (epoch 2, batch 0)" in said and "epoch 2/2" in said
    )
    assert "threads" not in said
    assert load_checkpoint(RunDirectory("run").last)[1]["step"] == 2 * first["step"]


def test_options_that_are_left_out_are_kept_and_changed_ones_refused(
    train: Train, finished: Path
) -> None:
    shutil.copytree(finished, "run")
    assert train("--run_dir=run", "--resume=auto")[0] == 0
    for option in ("--prior.latent_dim=5", "--likelihood=Normal"):
        code, said, errors = train(*ONCE, option)
        name = option.split("=")[0]
        assert (code, said, errors.count("\n")) == (2, "", 1)
        assert errors.startswith(f"error: {name}") and "a resumed run keeps its options" in errors


def test_a_configuration_of_other_options_without_a_checkpoint_stays(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("beta: {value: 2}  # mine\n")
    code, _, errors = train(*ONCE)
    assert code == 2 and errors.count("\n") == 1
    assert "run: holds a run already, with other options and without a checkpoint" in errors
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_a_run_whose_last_checkpoint_is_gone_is_refused(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    RunDirectory("run").last.unlink()
    code, _, errors = train(*ONCE)
    assert code == 2 and "last.safetensors: no such checkpoint" in errors
    assert RunDirectory("run").best(1).exists()


def test_it_needs_a_run_directory_and_one_of_that_name_is_given_as_a_path(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "auto")
    code, _, errors = train("--resume", "auto")
    assert code == 2 and errors.count("\n") == 1
    assert "error: --resume auto: needs --run_dir" in errors and "./auto" in errors
    for arguments in (["--resume=./auto"], ["--run_dir=auto", "--resume=auto"]):
        code, said, _ = train(*arguments)
        assert code == 0 and "1 of 1 epoch done" in said


def test_a_preset_may_hold_the_directory(train: Train, tmp_path: Path) -> None:
    preset = yaml.safe_load(preset_path(DEFAULT).read_text()) | {"run_dir": "run"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(preset))
    for expected in ("epoch 1/1", "1 of 1 epoch done"):
        code, said, _ = train("--config=mine.yaml", "--resume=auto", *PLAIN)
        assert code == 0 and expected in said


def test_of_two_that_start_at_once_one_trains(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunDirectory(tmp_path / "run").lock():
        code, _, errors = train(*ONCE)
    assert code == 2 and "another process is training in this" in errors
    assert not RunDirectory("run").config.exists()


class Overtaken(RandomStart):
    """While this run prepares its start, another begins in the directory and trains there."""

    def __init__(self, other: RunDirectory, held: ExitStack) -> None:
        self.other, self.held = other, held

    def __call__(self, *args: Any) -> str:
        self.held.enter_context(self.other.lock())
        save_checkpoint(self.other.last, {}, {"epoch": 7})
        self.other.begin()
        return "overtaken"


def test_a_run_that_begins_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with (
        ExitStack() as held,
        pytest.raises(InputError, match="another process is training in this"),
    ):
        start = Overtaken(RunDirectory(tmp_path / "run"), held)
        fit(Trainer(epochs=1, batch_size=8), Recipe(start=start), tmp_path / "run")
    assert load_checkpoint(start.other.last)[1] == {"epoch": 7}


LINES: dict[str, list[str]] = {
    "options": ["--beta.value=4", "--optimizer.lr=0.01", "--trainer.epochs", "16"]
    + ['--prior={"class_path": "GaussianMixture", "init_args": {"num_components": 3}}'],
    "parts": ["--optimizer=Adamax", "--optimizer.eps=0.001", "--prior=VampPrior"]
    + ["--prior.num_components=50", "--prior.latent_dim=8", "--posterior=LowRankNormal"]
    + ["--likelihood=DiscretizedLogisticMixture", "--start=RandomStart"]
    + ["--encoder=ResidualEncoder", "--decoder=ResidualDecoder"]
    + ["--objective=Denoising", "--objective.bound=IWAE"],
    "parts of parts": ["--prior=FlowPrior", "--prior.flow=NeuralSpline"]
    + ["--prior.flow.num_bins=5", "--objective=Capacity", "--objective.capacity=5"]
    + ["--objective.schedule=Cyclical", "--beta.schedule=Cyclical", "--schedule=Warmup"]
    + ["--schedule.then=Cosine"],
    "twice": ["--prior=VampPrior", "--prior.num_components=50", "--prior.latent_dim=8"]
    + ["--optimizer", "Adam", "--optimizer.momentum=0.5", "--optimizer", "SGD"],
    "optimizer": ["--optimizer=Adamax", "--optimizer.eps=0.001"],
}
#: Lines beside a preset.
PRESETS = {"twice": "mnist_conv", "optimizer": "celeba_post"}


def parsed(arguments: list[str], root: Path) -> tuple[str, bool]:
    """The options of a command line's run, and whether it goes on; it is killed at its start."""
    given = [*arguments, f"--run_dir={root}", "--resume=auto"]
    _, found, resume = parse_run(train_parser(), given, DEFAULT)
    save_checkpoint(found.last, {}, {"config": found.config_text})
    found.begin()
    return found.config_text, resume


@pytest.mark.parametrize(
    ("line", "preset"),
    [(line, PRESETS.get(line)) for line in LINES],
)
def test_the_same_options_are_no_change(line: str, preset: str | None, tmp_path: Path) -> None:
    config = [f"--config={preset}"] if preset else []
    first, started = parsed([*config, *LINES[line]], tmp_path / "run")
    again, resumed = parsed([*config, *LINES[line]], tmp_path / "run")
    assert not started and resumed
    # A class without arguments is written in two ways that mean the same.
    assert again.replace("  init_args: {}\n", "") == first.replace("  init_args: {}\n", "")


@pytest.fixture
def moved(train: Train, tmp_path: Path) -> Path:
    """A run in `run` whose images were in `old` and are now in the folder that is returned."""
    folder_of_images(tmp_path / "old")
    rows = "".join(f"{i}.png,{i % 2}\n" for i in range(30))
    (tmp_path / "old" / "table.csv").write_text(f"name,dark\n{rows}")
    options = [option for option in PLAIN if not option.startswith("--data.num")]
    data = ["--data=ImageFolder", f"--data.root={tmp_path / 'old'}"]
    data.append(f"--data.attributes={tmp_path / 'old/table.csv'}")
    assert train(*data, *options, "--trainer.batch_size=4", "--run_dir=run")[0] == 0
    (tmp_path / "old").rename(tmp_path / "new")
    return tmp_path / "new"


def test_a_run_whose_images_were_moved_goes_on(moved: Path, train: Train) -> None:
    code, _, errors = train("--resume=run", "--trainer.epochs=2")
    assert code == 2 and "old: no such folder (--data.root" in errors
    more = ["--resume=run", "--trainer.epochs=2", f"--data.root={moved}"]
    shutil.copy(moved / "table.csv", moved / "other.csv")
    code, _, errors = train(*more, f"--data.attributes={moved / 'other.csv'}")
    assert code == 2 and "--data.attributes: a resumed run keeps its options" in errors
    (moved / "other.csv").unlink()
    code, said, errors = train(*more, f"--data.attributes={moved / 'table.csv'}")
    assert (code, errors) == (0, "") and "epoch 2/2" in said
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"]["init_args"]["root"] == str(
        moved
    )
    code, said, _ = train("--resume=run", "--trainer.epochs=3", "--data.cache_dir=other")
    assert code == 0 and "epoch 3/3" in said


def test_the_place_of_moved_images_can_be_edited_in_the_configuration(
    moved: Path, train: Train
) -> None:
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace(str(moved.parent / "old"), str(moved)))
    assert train("--resume=run", "--trainer.epochs=2")[0] == 0


def test_a_last_checkpoint_with_other_options_is_the_named_cause(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    assert train(*ONCE, "--beta.value=2")[0] == 0
    shutil.copy(RunDirectory(finished).last, RunDirectory("run").last)
    code, _, errors = train("--resume=run", "--trainer.epochs=2")
    assert code == 2 and errors.count("\n") == 1
    assert "last.safetensors and run/config.yaml do not belong to the same run" in errors
    assert "they differ in --beta.value (1.0 and 2.0)" in errors


def test_the_engine_may_change_and_a_longer_schedule_is_described(
    train: Train, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    new = ["--engine.precision=bf16", "--engine.record=false"]
    code, said, errors = train("--resume=run", "--trainer.epochs=3", *new)
    assert (code, errors) == (0, "") and "networks in bf16" in said
    (line,) = [line for line in said.splitlines() if line.startswith("the schedule of")]
    assert line.startswith("the schedule of the learning rate now takes 3 epochs instead of 1: ")
    was, ends = (f"{float(rows(tmp_path / 'run')[i]['learning_rate']):.3g}" for i in (0, -1))
    assert f"after {was} in the last step, and ends at {ends}" in line
    (goes_on,) = re.findall("it continues at ([0-9.]+),", line)
    assert 2 * float(was) < float(goes_on) < 0.003
    assert "the schedule of" not in train("--resume=run")[1]
    code, said, _ = train("--resume=run", "--trainer.epochs=4", "--engine.precision=fp32")
    assert code == 0 and "instead of 3" in said


def test_other_images_in_the_new_place_are_refused(moved: Path, train: Train) -> None:
    for path in moved.glob("*.png"):
        path.write_bytes((moved / "3.png").read_bytes())
    table = f"--data.attributes={moved / 'table.csv'}"
    code, _, errors = train("--resume=run", "--trainer.epochs=2", f"--data.root={moved}", table)
    assert code == 2 and "is not the one that the run in run began with" in errors
    assert "the data differ, or " in errors
    code, _, errors = train("--resume=run", "--data.channels=1", f"--data.root={moved}")
    assert code == 2 and "--data.channels: a resumed run keeps its options" in errors


def test_a_resumed_run_says_where_the_number_of_threads_differs(
    train: Train, finished: Path
) -> None:
    shutil.copytree(finished, "run")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        code, said, _ = train(*ONCE, "--trainer.epochs=2")
    finally:
        torch.set_num_threads(before)
    assert code == 0 and f"computes with {before + 1} threads, before with {before}:" in said


def test_a_finished_run_that_is_asked_for_again_keeps_its_evaluation(
    train: Train, finished: Path
) -> None:
    shutil.copytree(finished, "run")
    score_run("run", Options(num_samples=3), ["elbo", "reconstruction"]).write()
    before = Path("run/evaluation.json").read_text()
    assert train(*ONCE)[0] == 0
    assert Path("run/evaluation.json").read_text() == before
    assert train(*ONCE, "--trainer.epochs=2", "--optimizer.lr=0.0")[0] == 2
    assert train(*ONCE, "--trainer.epochs=2")[0] == 0
    assert Path("run/evaluation.json").read_text() != before
