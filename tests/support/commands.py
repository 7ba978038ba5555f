"""Commands of the scripts, in this process or in one of their own, on a tiny run."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from pyrovae.commands.app import module_of
from pyrovae.commands.running import run_command
from tests.support.processes import run_script

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
#: As `torchrun`; see there.
FORKING_TORCHRUN = Path(__file__).with_name("forking_torchrun.py")
TINY = [
    "--prior=StandardNormal",
    "--data.image_size=16",
    "--data.num_train=64",
    "--data.num_val=16",
    "--data.num_test=16",
    "--encoder.channels=[4,8]",
    "--decoder.channels=[8,4]",
    "--prior.latent_dim=4",
    "--trainer.batch_size=16",
    "--trainer.epochs=1",
    "--engine.device=cpu",
    "--engine.precision=fp32",
]


def script(name: str) -> ModuleType:
    """The module of the command that a script runs."""
    text = (SCRIPTS / f"{name}.py").read_text()
    (command,) = re.findall(r'^    run\("([\w-]+)"\)$', text, re.M)
    return importlib.import_module(f"pyrovae.commands.{module_of(command)}")


def run(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs the command of a script as the command line would; returns the exit code."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command(script(name).main)
    code = stopped.value.code
    return int(code) if code is not None else 0


def refusal(
    name: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """The last line that a command prints when it refuses its arguments, without a traceback."""
    assert run(name, arguments, monkeypatch) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("error: ") and "Traceback" not in "".join(errors), errors
    return errors[-1]


def folder_of_images(root: Path, size: int = 20, mode: str = "RGB") -> Path:
    root.mkdir(parents=True)
    for i in range(30):
        Image.new(mode, (size, size), 8 * i if mode == "L" else (8 * i, 90, 40)).save(
            root / f"{i}.png"
        )
    return root


def mask(path: Path, width: int, height: int) -> Path:
    """A mask whose left half is missing."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, : width // 2] = 255
    Image.fromarray(pixels).save(path)
    return path


def execute(
    name: str, *arguments: str, folder: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    done = run_script(SCRIPTS / f"{name}.py", *arguments, folder=folder)
    assert done.returncode == code, done.stderr
    return done
