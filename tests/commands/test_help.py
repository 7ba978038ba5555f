"""The text of `--help`."""

from __future__ import annotations

import importlib
import io
import os
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from pyrovae.commands import app, help_cache
from pyrovae.commands.help_cache import kept_help
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
    text = app._help(name)
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
    text = " ".join(app._help("train").split())
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
    assert kept_help("train", make) == kept_help("train", make) == "first\nπ\n"
    os.utime(source, ns=(1, 1))
    assert kept_help("train", make) == kept_help("train", make) == "second"
    monkeypatch.setenv("COLUMNS", "71")
    assert kept_help("train", make) == kept_help("train", make) == "third"
    assert kept_help("sample", make) == "fourth"


def test_a_cache_that_cannot_be_used_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "file"))
    assert kept_help("train", lambda: "text") == "text"
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path))
    (tmp_path / "help").mkdir()
    (tmp_path / "help" / "train.txt").write_bytes(b"\xff\xfe")
    assert kept_help("train", lambda: "text") == "text"
