"""The measure of the house: a part is one new file, and nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import pyrovae
from tests.support.commands import TINY

pytestmark = pytest.mark.slow

HEAD = '''"""Dropped into the package by a test."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
'''

#: What a new part of each kind takes: its file, and what is in it.
FILES = {
    "priors/dropped.py": '''
from pyrovae.priors.base import Prior


class DroppedPrior(Prior):
    """A Normal prior of a test."""

    def __init__(self, latent_dim: int = 4, width: float = 1.0) -> None:
        super().__init__(latent_dim)
        self.width = width
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        return dist.Normal(self.loc, self.width).to_event(1)
''',
    "likelihoods/dropped.py": '''
from pyrovae.likelihoods.base import DensityLikelihood


class DroppedLikelihood(DensityLikelihood):
    """A Normal likelihood of a test."""

    def num_maps(self, channels: int) -> int:
        return channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        return dist.Normal(h, 0.2).to_event(3)
''',
    "posteriors/dropped.py": '''
from pyrovae.posteriors.base import LocationScale


class DroppedPosterior(LocationScale):
    """A narrow Normal posterior of a test."""

    @property
    def num_params(self) -> int:
        return 2 * self.latent_dim

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        loc, scale = self.location_and_scale(h)
        return dist.Normal(loc, scale / 2).to_event(1)
''',
    "objectives/dropped.py": '''
from pyrovae.objectives.rates import FreeBits


class DroppedObjective(FreeBits):
    """A bound of a test."""
''',
    "data/dropped.py": '''
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import ImageData, Split


class DroppedData(ImageData):
    """Grey noise of a test."""

    flip = False

    def __init__(self, size: int = 16, augment: Sequence[Augmentation] = ()) -> None:
        self.image_shape, self.augment = (1, size, size), augment

    def split(self, name: str) -> Split:
        noise = np.random.default_rng(len(name)).integers(0, 256, (40, *self.image_shape))
        names = [str(row) for row in range(40)]
        return Split(noise.astype(np.uint8), names, np.zeros((40, 0), np.float32))

    def preprocess(self, image: Any) -> np.ndarray:
        return np.zeros(self.image_shape, np.uint8)
''',
    "data/dropped_change.py": '''
from pyrovae.data.augmentation import Augmentation


class DroppedAugmentation(Augmentation):
    """Turns images upside down, for a test."""

    numbers = 1

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        return images.flip(-2)
''',
    "networks/dropped.py": '''
from pyrovae.networks.blocks import Block


class DroppedBlock(Block):
    """A block without weights, for a test."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()
''',
    "inspection/sections/dropped.py": '''
from pyrovae.inspection.section import Section
from pyrovae.inspection.subject import Subject

PLACE = 15


def section(subject: Subject) -> Section:
    """How many images there are, for a test."""
    return Section("How many images are there?", [f"There are {len(subject.split)} images."])
''',
    "training/callbacks/dropped.py": '''
from pyrovae.training.callbacks.base import Callback


class DroppedCallback(Callback):
    """Prints a line at the end, for a test."""

    def end(self, status: str) -> None:
        print("the dropped callback has seen the end")
''',
    "training/loggers/dropped.py": '''
from pyrovae.training.loggers.base import Config, Images, Logger, Numbers


class DroppedLogger(Logger):
    """Prints what it is given, for a test."""

    def start(self, config: Config) -> None:
        print("logs a run with the prior", config["prior"])

    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        print("logs step", step)

    def finish(self, status: str) -> None:
        print("has logged a run that is", status)
''',
    "training/initialization/dropped.py": '''
from typing import Any

from pyrovae.training.initialization.base import Start


class DroppedStart(Start):
    """Starts as the networks are, for a test."""

    def __call__(self, vae: Any, images: np.ndarray, flip: bool) -> str:
        return "starts as dropped"
''',
    "programs/dropped.py": '''
from pyrovae.programs.vae import VAE


class DroppedProgram(VAE):
    """The usual programs under another name, for a test."""
''',
}
OPTIONS = {
    "--prior": "DroppedPrior",
    "--likelihood": "DroppedLikelihood",
    "--posterior": "DroppedPosterior",
    "--objective": "DroppedObjective",
    "--data": "DroppedData",
    "--program": "DroppedProgram",
    "--start": "DroppedStart",
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package, and one new file for each kind of part."""
    folder = tmp_path_factory.mktemp("copied")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(pyrovae.__file__).parent, folder / "pyrovae", ignore=ignored)
    for name, text in FILES.items():
        assert not (folder / "pyrovae" / name).exists()
        (folder / "pyrovae" / name).write_text(HEAD + text)
    return folder


CODE = """
import importlib, json, sys
for name, *arguments in json.loads(sys.argv.pop()):
    print("=====", name)
    try:
        importlib.import_module(f"pyrovae.commands.{name}").main(arguments)
    except SystemExit as stopped:  # As the help does.
        assert not stopped.code, stopped.code
import pyrovae, pytest
print("===== names")
print(pyrovae.DroppedPrior(3), pyrovae.priors.DroppedPrior)
print(pyrovae.DroppedAugmentation, pyrovae.DroppedBlock)
print("===== tests")
options = ["-q", "-p", "no:cacheprovider", "tests/test_parts.py", "-k", "Dropped"]
print("code", int(pytest.main(options)))
"""


def fill(copied: Path) -> None:
    """Puts the page of parts and the tests of all parts beside the copy."""
    (copied / "README.md").write_text(
        "<!-- parts: made by scripts/list_parts.py -->\n<!-- end of parts -->\n"
    )
    (copied / "tests" / "support").mkdir(parents=True)
    for name in ("__init__.py", "support/__init__.py", "support/tables.py", "test_parts.py"):
        shutil.copy(Path(__file__).parent / name, copied / "tests" / name)


@pytest.fixture(scope="module")
def printed(copied: Path) -> list[str]:
    """What commands, an import and the tests of all parts print in the copy, in one process."""
    fill(copied)
    parts = [f"{option}={name}" for option, name in OPTIONS.items()]
    usual = [option for option in TINY if not option.startswith("--data.")]
    more = ["--callbacks=[DroppedCallback]", "--loggers=[DroppedLogger]"]
    more += ["--prior.width=0.5", "--data.augment=[DroppedAugmentation]", "--run_dir=run"]
    commands = [["parts", "--write", "README.md"], ["train", "--help"], ["inspect", "--help"]]
    commands += [["train", *usual, *parts, *more]]
    commands += [["inspect", "run", "--quick", "--sections", "dropped"]]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)],
        cwd=copied,
        env=os.environ | {"PYTHONPATH": str(copied)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("===== ")[1:]


def test_a_dropped_part_is_in_the_help_and_in_the_table(copied: Path, printed: list[str]) -> None:
    shown = " ".join(" ".join(printed[:3]).split())
    table = (copied / "README.md").read_text()
    further = ("DroppedAugmentation", "DroppedBlock", "DroppedCallback", "DroppedLogger")
    for name in (*OPTIONS.values(), *further):
        assert f"| `{name}` | " in table and f" {name} " in shown
    assert "| `dropped` | How many images there are, for a test. |" in table
    assert "collapse, dropped, program" in shown


def test_dropped_parts_train_and_are_opened_and_inspected(
    copied: Path, printed: list[str]
) -> None:
    trained, inspected = printed[3:5]
    assert "the dropped callback has seen the end" in trained and "starts as dropped" in trained
    for line in ("run with the prior pyrovae.DroppedPrior", "step 2", "run that is finished"):
        assert line in trained
    assert "test, 40 images" in trained
    config = yaml.safe_load((copied / "run/config.yaml").read_text())
    for option, name in OPTIONS.items():
        assert config[option.removeprefix("--")]["class_path"] == f"pyrovae.{name}"
    augment = config["data"]["init_args"]["augment"]
    assert [own["class_path"] for own in augment] == ["pyrovae.DroppedAugmentation"]
    assert "There are 40 images." in inspected


def test_the_tests_of_all_parts_find_the_dropped_ones(printed: list[str]) -> None:
    assert printed[-1].endswith("code 0\n"), printed[-1]
    assert int(printed[-1].split(" passed")[0].split()[-1]) >= 10


def test_what_is_dropped_is_exported(printed: list[str]) -> None:
    expected = "names\nDroppedPrior(latent_dim=3) <class 'pyrovae.priors.dropped."
    assert printed[5].startswith(expected)
    assert "<class 'pyrovae.data.dropped_change.DroppedAugmentation'>" in printed[5]
    assert "<class 'pyrovae.networks.dropped.DroppedBlock'>" in printed[5]
