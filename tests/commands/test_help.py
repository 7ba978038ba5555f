"""The text of `--help`."""

from __future__ import annotations

import importlib
import io
import os
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from pyrovae.commands import app, help_cache
from pyrovae.commands.help_cache import is_kept, kept_help
from pyrovae.config.help import EXAMPLES
from pyrovae.config.options import LINKED, parse_training, train_parser
from pyrovae.config.parsing import answer_help
from pyrovae.config.presets import preset_path

INTERNALS = (
    "lambda",
    "CLASS_PATH",
    "CONFIG",
    "<class",
    "Linked",
    "SUPPRESS",
    "Optional[",
    "type:",
)


@pytest.mark.parametrize("name", ["train", "evaluate", "inspect", "explore", "sample", "prepare"])
def test_help_begins_with_five_examples_and_hides_the_parser(name: str) -> None:
    text = app._help(name, ["--help"])
    lines = text.splitlines()
    assert lines[0].startswith(f"usage: pyrovae {name}") and lines[2] == "examples:"
    assert [line.startswith(f"  pyrovae {name}") for line in lines[3:9]] == [True] * 5 + [False]
    assert not [word for word in INTERNALS if word in text]
    assert max(map(len, lines)) <= 110


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "evaluate", "inspect", "explore", "sample", "prepare"])
def test_the_examples_are_right(name: str) -> None:
    for example in EXAMPLES[f"pyrovae {name}"]:
        if name in ("train", "prepare"):
            parse_training(train_parser(), example.split())
        else:
            module = importlib.import_module(f"pyrovae.commands.{name}")
            module.parser().parse_args(example.split())


@pytest.mark.parametrize(
    ("role", "part", "expected"),
    [
        ("prior", "FlowPrior", ["--prior.flow NAME a function from D", "(default: RealNVP)"]),
        ("data", "StaticMNIST", ["--data.path TEXT a folder", "(required)"]),
        ("data", "ImageFolder", ["--data.show INT ... the", "--data.augment NAME ... further"]),
        ("data.augment", "Crop", ["--data.augment.least FLOAT the smallest", "(default: 0.8)"]),
        ("schedule", "Constant", ["no arguments"]),
    ],
)
def test_the_help_of_a_part_hides_the_parser(role: str, part: str, expected: list[str]) -> None:
    with pytest.raises(SystemExit), redirect_stdout(io.StringIO()) as printed:
        answer_help([f"--{role}.help", part], LINKED)
    text = " ".join(printed.getvalue().split())
    assert all(words in text for words in expected)
    assert not [word for word in INTERNALS if word in text]


@pytest.mark.slow
def test_help_has_every_option_with_the_values_of_the_preset() -> None:
    text = " ".join(app._help("train", ["--help"]).split())
    parser = train_parser()
    for action in parser._actions:
        names = [name for name in action.option_strings if "." in name and " " not in name]
        assert all(name in text for name in names if not name.endswith(".help"))
    assert "clip_norm: 1000.0" in preset_path("default").read_text()
    assert "--trainer.clip_norm FLOAT largest global norm" in text and "default: 1000.0)" in text
    assert "--engine.compile {auto,on,off}" in text and "default: AdamW)" in text


def test_a_kept_text_is_made_again_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package" / "commands").mkdir(parents=True)
    (source := tmp_path / "package" / "prior.py").write_text("")
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        help_cache, "__file__", str(tmp_path / "package" / "commands" / "help_cache.py")
    )
    texts = iter(["first\nπ\n", "second", "third", "fourth"])
    make = texts.__next__
    assert (
        kept_help("train", ["--help"], make)
        == kept_help("train", ["--help"], make)
        == "first\nπ\n"
    )
    os.utime(source, ns=(1, 1))
    assert kept_help("train", ["--help"], make) == kept_help("train", ["--help"], make) == "second"
    monkeypatch.setenv("COLUMNS", "71")
    assert kept_help("train", ["--help"], make) == kept_help("train", ["--help"], make) == "third"
    assert kept_help("sample", ["--help"], make) == "fourth"


def test_a_cache_that_cannot_be_used_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "file"))
    assert kept_help("train", ["--help"], lambda: "text") == "text"
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path))
    assert kept_help("train", ["--help"], lambda: "text") == "text"
    (kept,) = (tmp_path / "help").iterdir()
    kept.write_bytes(b"\xff\xfe")
    assert kept_help("train", ["--help"], lambda: "text") == "text"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("--help", True),
        ("-h", True),
        ("--config celeba --help", True),
        ("--config=celeba --data=ImageFolder --help", True),
        ("--prior.help VampPrior", True),
        ("--prior FlowPrior --prior.flow.help=RealNVP", True),
        ("--config ./mine.yaml --help", False),
        ("--config mine --help", False),  # A file in the working directory.
        ("--prior my_parts.Cauchy --help", False),
        ("--prior.help my_parts.Cauchy", False),
        ("runs/photos --help", False),
        ("--help --config celeba", False),
        ("--trainer.epochs 3", False),
        ("", False),
    ],
)
def test_help_is_kept_that_depends_on_the_package_alone(
    line: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text("")
    assert is_kept(line.split()) == kept


@pytest.mark.slow
def test_each_line_has_its_own_text_and_an_error_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path))
    for line in ("--config celeba --help", "--prior.help VampPrior", "--prior.help VampPrior"):
        with pytest.raises(SystemExit) as done:
            app.run("train", line.split())
        assert done.value.code == 0
    shown = capsys.readouterr().out
    assert (
        "(default: CelebA)" in " ".join(shown.split()) and shown.count("--prior VampPrior\n") == 2
    )
    assert len(list((tmp_path / "help").iterdir())) == 2
    with pytest.raises(SystemExit) as done:
        app.run("train", ["--prior.help", "VampPriors"])
    assert done.value.code == 2 and "VampPriors" in capsys.readouterr().err
    assert len(list((tmp_path / "help").iterdir())) == 2
