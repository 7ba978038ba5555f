"""Copies of the user's own modules in a run, and which of several versions is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrovae
from pyrovae import InputError, Prior, RunDirectory
from pyrovae.config.naming import own_class

PART = """
import torch
import own_of_mine.helpers
from pyrovae import StandardNormal
from . import tables

class Mine(StandardNormal):
    scale = own_of_mine.helpers.SCALE
"""
CONFIG = "prior: {class_path: own_of_mine.parts.Mine}\nloggers: [torch.nn.ReLU, Console]\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "project" / "own_of_mine"
    package.mkdir(parents=True)
    texts = {"__init__": "", "parts": PART, "helpers": "SCALE = 2.0", "tables": "", "others": ""}
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield package
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "own_of_mine"]:
        del sys.modules[name]


@pytest.fixture
def run(project: Path, tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run", CONFIG)
    own_class("own_of_mine.parts.Mine", Prior, "--prior")
    run.begin()
    return run


def test_the_modules_of_the_user_and_what_they_import_are_copied(
    run: RunDirectory, project: Path
) -> None:
    copies = [path.relative_to(run.parts) for path in sorted(run.parts.rglob("*.*"))]
    assert [path.stem for path in copies] == ["__init__", "helpers", "parts", "tables"]
    for copy in copies:
        assert (run.parts / copy).read_bytes() == (project.parent / copy).read_bytes()
    (project / "helpers.py").write_text("SCALE = 3.0")
    run.begin()  # A resumed run.
    assert (run.parts / "own_of_mine" / "helpers.py").read_text() == "SCALE = 3.0"


def test_a_run_of_known_parts_has_no_copies(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", "prior: {class_path: pyrovae.StandardNormal}\n")
    run.begin()
    assert not run.parts.exists()


def test_copies_come_before_other_files(
    run: RunDirectory,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forget()
    (project / "helpers.py").write_text("SCALE = 3.0")
    monkeypatch.chdir(project.parent)
    path = list(sys.path)
    found = own_class("own_of_mine.parts.Mine", Prior, "--prior", run.parts)
    assert found.scale == 2.0  # type: ignore[attr-defined]
    (line,) = caplog.messages
    assert line.startswith(f"uses {run.parts}") and "own_of_mine/helpers.py" in line
    assert not list(run.parts.rglob("*.pyc")) and sys.path[0] == path[0]


def test_another_version_that_is_imported_already_is_refused(
    run: RunDirectory, project: Path
) -> None:
    assert own_class("own_of_mine.parts.Mine", Prior, "--prior", run.parts)
    (run.parts / "own_of_mine" / "helpers.py").write_text("SCALE = 3.0")
    with pytest.raises(InputError, match=r"helpers\.py: another version .* in a new process$"):
        own_class("own_of_mine.parts.Mine", Prior, "--prior", run.parts)


def test_copies_need_trust(run: RunDirectory) -> None:
    forget()
    with pytest.raises(InputError, match=r"names own_of_mine\.parts\.Mine.*trust=True"):
        pyrovae.load(run.root)
    assert "own_of_mine" not in sys.modules
