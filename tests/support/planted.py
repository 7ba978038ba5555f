"""The places of a configuration at which a file may name a class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Config = dict[str, Any]
Place = Callable[[Config, str, Config], None]


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
