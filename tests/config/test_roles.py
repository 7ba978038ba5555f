"""Roles beside the parts of a VAE: programs of the user's own, and loggers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pyrovae.config.options import parse_training, train_parser
from pyrovae.config.roles import PARTS, TABLE
from tests.support.commands import TINY, execute

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

OWN = '''
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import nn

from pyrovae import ModelGuidePair
from pyrovae.likelihoods import Likelihood
from pyrovae.training.callbacks import Callback


class Decode(PyroModule):
    def __init__(self, likelihood, shape, size):
        super().__init__("model")
        self.likelihood, self.shape, self.size = likelihood, shape, size
        channels = likelihood.num_maps(shape[0])
        self.maps = (channels, *shape[1:])
        self.layer = nn.Linear(size, channels * shape[1] * shape[2])

    def forward(self, x=None, num_images=1):
        count = num_images if x is None else len(x)
        weight = self.layer.weight
        with pyro.plate("images", count, dim=-1):
            prior = dist.Normal(weight.new_zeros(self.size), weight.new_ones(())).to_event(1)
            z = pyro.sample("z", prior)
            h = self.layer(z)
            return pyro.sample("x", self.likelihood(h.reshape(*z.shape[:-1], *self.maps)), obs=x)


class Encode(PyroModule):
    def __init__(self, shape, size):
        super().__init__("guide")
        self.layer = nn.Linear(shape[0] * shape[1] * shape[2], size)

    def forward(self, x, num_images=1):
        with pyro.plate("images", len(x), dim=-1):
            loc = self.layer(x.flatten(-3))
            pyro.sample("z", dist.Normal(loc, loc.new_tensor(0.1)).to_event(1))


class Linear(ModelGuidePair):
    """Linear maps both ways."""

    def __init__(self, likelihood: Likelihood, image_shape: tuple[int, int, int], size: int = 3):
        super().__init__(
            Decode(likelihood, image_shape, size), Encode(image_shape, size), likelihood
        )


class Count(Callback):
    """Writes how many steps an epoch has."""

    def __init__(self, name: str = "count.txt") -> None:
        self.name, self.steps, self.run = name, 0, None

    def begin(self, start):
        self.run = start.run

    def step(self, num_images, elbo, rate):
        self.steps += 1

    def end(self, status):
        (self.run.root / self.name).write_text(str(self.steps))


class Names:
    """Writes the names of all that it is given; imports nothing of pyrovae."""

    def start(self, config):
        self.run, self.lines = config.run, [config["program.size"], config["optimizer.lr"]]

    def log(self, numbers, images, step):
        self.lines += [step, "val_elbo" in numbers, sorted(images), images["samples"].size]

    def finish(self, status):
        (self.run.root / "names.txt").write_text(repr([*self.lines, status]))
'''


def test_own_programs_and_loggers_train_and_are_opened_again(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    own = ["--program=own.Linear", "--program.size=2", "--likelihood=Normal"]
    loggers = ["--callbacks=[own.Count]", "--loggers=[own.Names, CSVLogger]"]
    unused = ("--prior", "--encoder", "--decoder")
    few = [option for option in TINY if not option.startswith(unused)]
    options = [*few, *own, *loggers, "--start=RandomStart", "--run_dir=run"]
    assert (
        "--program.size" in execute("train", "--program.help=own.Linear", folder=tmp_path).stdout
    )
    execute("train", *options, folder=tmp_path)
    assert (tmp_path / "run/count.txt").read_text() == "4"
    assert not (tmp_path / "run/tensorboard").exists()
    assert (tmp_path / "run/metrics.csv").exists()
    written = "[2, 0.003, 4, True, ['reconstructions', 'samples'], (790, 790), 'finished']"
    assert (tmp_path / "run/names.txt").read_text() == written
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["program"] == {"class_path": "own.Linear", "init_args": {"size": 2}}
    execute("sample", "run", "--trust", "--num=4", folder=tmp_path)
    refused = execute("sample", "run", "--trust", "--traverse=0", folder=tmp_path, code=2)
    assert refused.stderr.startswith("error: Linear has no encode, decode and prior of one latent")
    execute("evaluate", "run", "--trust", "--sections=elbo", folder=tmp_path)
    more = ["--trainer.epochs=2", "--trust", "--callbacks=[own.Count]", "--loggers=[CSVLogger]"]
    execute("train", "--resume=run", *more, folder=tmp_path)
    assert (tmp_path / "run/count.txt").read_text() == "4"


@pytest.mark.parametrize(
    "option",
    [["--loggers=CSVLogger"], ["--loggers", "CSVLogger"], ["--loggers=[CSVLogger]"]],
    ids=" ".join,
)
def test_one_name_is_a_list_of_one(option: list[str]) -> None:
    config = parse_training(train_parser(), ["--config=default", *option])
    assert [own.class_path for own in config.loggers] == ["pyrovae.training.loggers.CSVLogger"]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--program=Vae", "--program: unknown class 'Vae' (did you mean VAE?); known are"),
        ("--program.help=own_missing.A", "--program.help: 'own_missing.A' cannot be imported"),
        ("--program.prior=StandardNormal", "--program.prior: follows from --prior, set that"),
        (
            "--loggers=[Consle]",
            "--loggers: unknown class 'Consle'; known are CSVLogger",
        ),
        ("--loggers=Consle", "--loggers: unknown class 'Consle'; known are CSVLogger"),
        ("--callbacks=[os.path]", "--callbacks: os.path is not a class"),
        ("--loggers=[own_missing.Logger]", "cannot be imported: No module named 'own_missing'"),
    ],
)
def test_wrong_programs_and_loggers_are_refused_in_one_line(option: str, expected: str) -> None:
    done = execute("train", *TINY, option, code=2)
    assert expected in done.stderr and done.stderr.count("\n") == 1


def test_each_role_stands_once_in_the_table() -> None:
    names = [role.name for role in TABLE]
    assert len(names) == len(set(names)) and {"program", "callbacks", "loggers"} <= set(names)
    for name, role in PARTS.items():
        for link in role.links.values():
            assert set(link.sources) <= set(PARTS) - {name}
