"""A stranger's run or preset: opening it runs nothing of it."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pyrovae
from pyrovae import InputError, RunDirectory
from pyrovae.catalogue import ROLES, concrete
from pyrovae.checkpoint import load_checkpoint, save_checkpoint
from pyrovae.naming import arguments_of, known_class
from pyrovae.plain_yaml import parse_yaml
from tests.test_cli import SCRIPTS, TINY, run, trained  # noqa: F401

Config = dict[str, Any]
Place = Callable[[Config, str, Config], None]

ENTRIES = {
    "load": lambda root, mark: pyrovae.load(root),
    "evaluate": ["evaluate", "{run}", "--sections=elbo", "--device=cpu"],
    "compare": ["evaluate", "{good}", "--compare", "{run}", "--sections=elbo", "--device=cpu"],
    "sample": ["sample", "{run}", "--num=2", "--out={tmp}/out.png", "--device=cpu"],
    "inspect": ["inspect_posterior", "{run}", "--quick", "--sections=program", "--device=cpu"],
    "resume": ["train", "--resume={run}", "--trainer.epochs=2"],
    "config": ["train", "--config={run}/config.yaml", "--run_dir={tmp}/out"],
    "prepare": ["prepare_data", "--config={run}/config.yaml"],
}

SYSTEM = "os.system"
TOUCH = "touch {mark}"


def at(path: str, spec: bool = True) -> Place:
    """Puts a class into a place of a configuration, with its argument or by name alone."""

    def put(config: Config, name: str, arguments: Config) -> None:
        *outer, last = path.split("/")
        node = config
        for key in outer:
            node = node.setdefault(key, {})
        node[last] = {"class_path": name, "init_args": arguments} if spec else name

    return put


def in_list(config: Config, name: str, arguments: Config) -> None:
    config["encoder"]["init_args"]["channels"] = [{"class_path": name, "init_args": arguments}]


def in_text(config: Config, name: str, arguments: Config) -> None:
    config["prior"] = yaml.safe_dump({"class_path": name, "init_args": arguments})


def in_dotted_key(config: Config, name: str, arguments: Config) -> None:
    config["prior.class_path"] = name
    config["prior.init_args"] = arguments


def deep(config: Config, name: str, arguments: Config) -> None:
    spec = {"class_path": name, "init_args": arguments}
    for _ in range(5):
        spec = {"class_path": "pyrovae.Warmup", "init_args": {"then": spec}}
    config["schedule"] = spec


def flow(config: Config, name: str, arguments: Config) -> None:
    inner = {"latent_dim": 4, "flow": {"class_path": name, "init_args": arguments}}
    config["prior"] = {"class_path": "pyrovae.FlowPrior", "init_args": inner}


def flow_by_name(config: Config, name: str, arguments: Config) -> None:
    config["prior"] = {"class_path": "pyrovae.FlowPrior", "init_args": {"flow": name}}


def activation(config: Config, name: str, arguments: Config) -> None:
    inner = {"activation": {"class_path": name, "init_args": arguments}}
    config["encoder"] = {"class_path": "pyrovae.MLPEncoder", "init_args": inner}


def activation_by_keywords(config: Config, name: str, arguments: Config) -> None:
    inner = {"activation": {"class_path": name, "dict_kwargs": arguments}}
    config["decoder"] = {"class_path": "pyrovae.MLPDecoder", "dict_kwargs": inner}


def file_as_part(config: Config, name: str, arguments: Config) -> None:
    other = Path(arguments["command"].split()[-1]).with_suffix(".yaml")
    other.write_text(yaml.safe_dump({"class_path": name, "init_args": arguments}))
    config["prior"] = str(other)


PLACES: dict[str, Place] = {
    "flow": flow,
    "flow by name": flow_by_name,
    "activation": activation,
    "activation by keywords": activation_by_keywords,
    "prior": at("prior"),
    "prior by name": at("prior", spec=False),
    "data": at("data"),
    "optimizer": at("optimizer"),
    "optimizer by name": at("optimizer", spec=False),
    "objective": at("objective"),
    "schedule, five deep": deep,
    "beta's schedule": at("beta/schedule"),
    "an argument that is plain": at("likelihood/init_args/initial_scale"),
    "an argument that says not what it is": at("objective/init_args/retain_graph"),
    "a list": in_list,
    "a text": in_text,
    "dotted keys": in_dotted_key,
    "another file": file_as_part,
    "an option that there is not": at("nonsense"),
}


@pytest.fixture
def hostile(trained: Path, tmp_path: Path) -> Callable[[Config], Path]:  # noqa: F811
    """Makes a copy of a finished run with another configuration, also in its checkpoint."""

    def make(config: Config) -> Path:
        root = tmp_path / "hostile"
        shutil.copytree(trained, root)
        text = yaml.safe_dump(config)
        (root / "config.yaml").write_text(text)
        tensors, state = load_checkpoint(RunDirectory(root).last)
        save_checkpoint(RunDirectory(root).last, tensors, {**state, "config": text})
        return root

    return make


@pytest.fixture
def config(trained: Path) -> Config:  # noqa: F811
    return yaml.safe_load((trained / "config.yaml").read_text())


def opened(
    entry: str,
    root: Path,
    good: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *more: str,
) -> str:
    """The line that an entry point refuses a run with."""
    how: Any = ENTRIES[entry]
    if entry == "load":
        with pytest.raises(InputError) as refused:
            pyrovae.load(root)
        return str(refused.value)
    name, *arguments = [word.format(run=root, good=good, tmp=root.parent) for word in how]
    capsys.readouterr()
    assert run(name, [*arguments, *more], monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said.strip()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_no_word_of_a_file_runs(
    entry: str,
    place: str,
    config: Config,
    hostile: Callable[[Config], Path],
    trained: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark = tmp_path / "mark"
    PLACES[place](config, "os.system", {"command": f"touch {mark}"})
    line = opened(entry, hostile(config), trained, monkeypatch, capsys)
    assert "hostile/config.yaml" in line
    assert "os.system" in line or place in ("dotted keys", "another file")
    assert not mark.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_module_that_a_file_names_is_imported(
    entry: str,
    config: Config,
    hostile: Callable[[Config], Path],
    trained: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither one of the current directory nor one that is installed."""
    mark = tmp_path / "mark"
    (tmp_path / "stray.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config["prior"]["class_path"] = "stray.Prior"
    line = opened(entry, hostile(config), trained, monkeypatch, capsys)
    assert "stray.Prior" in line and "config.yaml" in line and "--trust" in line
    assert "stray" not in sys.modules and not mark.exists()
