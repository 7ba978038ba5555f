"""Builds the command line from the constructors' signatures: a new part needs no registration."""

from __future__ import annotations

import importlib
import inspect
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch
from jsonargparse import Namespace
from torch import Tensor

from pyrovae.config.naming import arguments_of
from pyrovae.config.parsing import Parser, answer_help, is_stated, joined, options_given, value_of
from pyrovae.config.presets import preset_names
from pyrovae.config.resuming import check_kept, config_text, stated_config
from pyrovae.config.roles import ALSO, LINKED, LISTS, NESTED, PARTS, TRAINING, Role
from pyrovae.config.trust import Consent, add_trust, consent_of
from pyrovae.engine import Engine
from pyrovae.objectives import Beta, check_objective_name
from pyrovae.programs.links import LINKS
from pyrovae.runs.directory import RunDirectory
from pyrovae.runs.free import PLACES
from pyrovae.training.trainer import Trainer
from pyrovae.utils.errors import InputError
from pyrovae.utils.plain import from_yaml
from pyrovae.utils.process_group import processes

__all__ = [
    "add_opening",
    "folder_parser",
    "opening",
    "parse",
    "parse_run",
    "parse_training",
    "parts_parser",
    "run_parser",
    "train_parser",
    "without_preset",
]

ABOUT_CONFIG = (
    "name of a preset, or a YAML file that replaces the preset default; several apply in order: "
    "--config default --config FILE changes only the options in FILE"
)
#: The value of `--resume` that means: resume the run in `--run_dir` if there is one.
AUTO = "auto"


def parts_parser(**kwargs: Any) -> Parser:
    """A parser for the data and the parts of a VAE, with links for sizes that follow."""
    parser = Parser(**kwargs)
    _add_roles(parser, PARTS)
    for part in (*LINKS, *NESTED):
        for argument, link in LINKS[ALSO.get(part, part)].items():
            parser.link_arguments(
                link.sources if len(link.sources) > 1 else link.sources[0],
                f"{part}.{argument}".replace(".", ".init_args."),
                compute_fn=link,
                apply_on="instantiate",
            )
    return parser


def _add_roles(parser: Parser, roles: dict[str, Role]) -> None:
    for name, role in roles.items():
        parser.add_subclass_arguments(role.base, name, help=role.about)
        parser.set_defaults({name: {"class_path": role.default}})


def _add_lists(parser: Parser) -> None:
    for name, role in LISTS.items():
        default = [{"class_path": path} for path in role.many]
        kind: Any = list[role.base]  # type: ignore[name-defined]
        parser.add_argument(f"--{name}", type=kind, default=default, help=role.about)


def train_parser() -> Parser:
    """The parser of `pyrovae train`."""
    parser = parts_parser(prog="pyrovae train", description="Trains a VAE with Pyro's SVI.")
    parser.add_argument("--config", action="config", help=ABOUT_CONFIG)
    parser.add_argument(
        "--optimizer",
        type=Callable[[Iterable[Tensor]], torch.optim.Optimizer],
        default={"class_path": "torch.optim.Adam"},
        help="Optimiser: any class of torch.optim, such as Adam, AdamW, Adamax, SGD ...",
    )
    _add_roles(parser, TRAINING)
    _add_lists(parser)
    parser.add_class_arguments(Beta, "beta")
    parser.add_class_arguments(Trainer, "trainer")
    parser.add_class_arguments(Engine, "engine")
    parser.add_text("--init_from", "run to start from: its weights are copied if they fit")
    parser.add_texts("--freeze", "parts that are not trained, such as encoder")
    parser.add_text("--run_dir", "run directory (default: a new one in runs/)")
    help_resume = f"run directory to resume; {AUTO}: that of --run_dir, if it holds a run"
    parser.add_text("--resume", help_resume)
    add_trust(parser)
    return parser


def run_parser(command: str, description: str) -> Parser:
    """The parser of a command about a run."""
    parser = Parser(prog=f"pyrovae {command}", description=description)
    parser.add_argument("run", type=str, help="run directory")
    return parser


def folder_parser(command: str, description: str) -> Parser:
    """The parser of a command that writes a new folder about a run."""
    parser = run_parser(command, description)
    parser.add_argument("--out", type=str, required=True, help="new folder to write")
    parser.add_argument("--checkpoint", type=str, default="best", help="best or last")
    add_trust(parser)
    return parser


def add_opening(parser: Parser) -> None:
    """Adds the options of all commands that open a run and draw from it."""
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws")
    parser.add_argument("--checkpoint", type=str, default="best", help="best or last")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, mps ...")
    for name in PLACES:
        about = f"new {name} of the run's data set, if its files have moved; null for none"
        parser.add_argument(f"--data.{name}", type=str | None, default="", help=about)
    add_trust(parser)


def opening(options: Namespace) -> dict[str, Any]:
    """The arguments of `load_run` that the options of `add_opening` give."""
    places = {name: place for name, place in options.data.as_dict().items() if place != ""}
    return {"checkpoint": options.checkpoint, "trust": options.trust, "places": places}


def parse(parser: Parser, arguments: list[str]) -> Namespace:
    """Parses a command line; dotted paths may name modules in the current directory."""
    arguments = joined(arguments)
    return _parsed(parser, arguments, consent_of(arguments))


def parse_training(parser: Parser, arguments: list[str]) -> Namespace:
    """Parses a command line of `pyrovae train`, including `--config`."""
    arguments = joined(arguments)
    consent = consent_of(arguments)
    arguments = consent.with_content(arguments)
    parser.files = consent.files
    _refuse_linked(arguments)
    default_to_named(parser, arguments)
    config = _parsed(parser, arguments, consent)
    _refuse_unused(config, arguments)
    return config


def _parsed(parser: Parser, arguments: list[str], consent: Consent) -> Namespace:
    config = parser.parse_args(arguments)
    consent.check_parsed(config.as_dict(), arguments)
    return config


def _preset(arguments: list[str]) -> dict[str, Any]:
    """The content of the preset that `Consent.with_content` put on the command line."""
    return from_yaml(value_of("--config", arguments) or "{}")


def parse_run(
    parser: Parser, arguments: list[str], default: str
) -> tuple[Namespace, RunDirectory, bool]:
    """Parses the command line of training.

    Args:
        parser: from `train_parser`.
        arguments: the command line.
        default: the preset to use if neither `--config` nor `--resume` is given.

    Returns:
        The configuration, the run directory, and whether the run resumes from a checkpoint.

    Raises:
        InputError: if a new run's directory holds a run already, if there is no run to resume, or
            if resuming would change an option.
    """
    arguments = joined(arguments)
    answer_help(arguments, LINKED | NESTED)
    check_objective_name(value_of("--objective", arguments) or "")
    resumed = value_of("--resume", arguments)
    if resumed not in (None, AUTO):
        return _parse_resumed(parser, arguments, RunDirectory(resumed))
    preset = [] if value_of("--config", arguments) else ["--config", default]
    config = _checked(parse_training(parser, [*preset, *arguments]))
    _check_source(config.init_from, arguments)
    if config.resume == AUTO and config.run_dir is None:
        raise InputError(
            f"--resume {AUTO}: needs --run_dir, the directory of the run to resume or to start "
            f"(write ./{AUTO} for a directory called {AUTO})"
        )
    data = config.data.class_path.split(".")[-1]
    root = config.run_dir or f"runs/{data}_{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    run = RunDirectory(root, config_text(parser, config))
    # One process decides: it may have begun to write when the others look.
    if config.resume == AUTO and processes().from_main(run.has_checkpoint):
        return _parse_resumed(parser, arguments, run)
    processes().from_main(run.check_free)
    return config, run, False


def without_preset(parser: Parser) -> list[str]:
    """A line if the files of `--config` name no parts, and no preset comes before them."""
    files, parts = parser.files, {*PARTS} - {"data"}
    if not files or {*files} & {*preset_names()} or any(parts & {*own} for own in files.values()):
        return []
    return [
        f"{' and '.join(files)}: replaces the preset default, so all parts have the defaults of "
        "their classes; put --config default first to keep the parts of the preset"
    ]


def _check_source(init_from: str | None, arguments: list[str]) -> None:
    """Raises `InputError` early if there is no run to start from, or a second start is named."""
    if init_from is None:
        return
    if value_of("--start", arguments):
        raise InputError("--init_from: replaces --start; give one of them")
    try:
        RunDirectory(init_from).check_run()
    except InputError as error:
        raise InputError(f"--init_from: {error}") from None


def default_to_named(parser: Parser, arguments: list[str]) -> None:
    """Makes the named classes the parser's defaults.

    If a class replaces the default, the parser keeps those values of the default that the new
    class accepts too. Values that the user gave must stay; defaults of a class that the user did
    not choose must not.
    """
    content = parser.stated = _preset(arguments)
    for role in (*PARTS, *TRAINING, "optimizer"):
        stated = content.get(role)
        inner = stated.get("class_path") if isinstance(stated, dict) else stated
        named = value_of(f"--{role}", arguments) or inner
        if named is not None:
            with suppress(Exception):  # Parsing reports a name that is not a class.
                parser.set_defaults({role: {"class_path": named}})


def _parse_resumed(
    parser: Parser, arguments: list[str], run: RunDirectory
) -> tuple[Namespace, RunDirectory, bool]:
    consent = consent_of(arguments)
    stated, written = stated_config(run, consent)
    arguments = consent.with_content(arguments)
    _refuse_linked(arguments)
    before = consent.with_content([f"--config={run.config}"])
    new = _checked(_parsed(parser, before + arguments, consent))
    check_kept(parser, stated, new, run, written)
    run.config_text = config_text(parser, new)
    return new, run, True


def _checked(config: Namespace) -> Namespace:
    """Returns the configuration; raises `InputError` for a missing part or a set linked size."""
    for name in (*PARTS, *TRAINING, "optimizer"):
        if config[name] is None:
            raise InputError(f"--{name}: must name a class, got null")
    for part, follows in LINKED.items():
        for argument, source in follows.items():
            given = (config[part].get("init_args") or {}).get(argument)
            if given is not None and not _is_default(config[part].class_path, argument, given):
                raise InputError(f"--{part}.{argument}: follows from {source}, set that instead")
    check_objective_name(config.objective.class_path)
    return config


def _refuse_unused(config: Namespace, arguments: list[str]) -> None:
    """Raises `InputError` if the command line sets a part that the program does not take.

    An option that decides the size of another part is allowed, such as `--prior.latent_dim`.
    """
    module, name = config.program.class_path.rsplit(".", 1)
    taken = arguments_of(getattr(importlib.import_module(module), name))
    sizes = {option for own in taken for option in LINKED.get(own, {}).values()}
    for path, _ in options_given(arguments, [n for n in LINKED["program"] if n in PARTS]):
        if (part := path[0]) not in taken and f"--{'.'.join(path)}" not in sizes:
            raise InputError(f"--{part}: --program {name} takes no {part}, leave the option out")


def _is_default(path: str, argument: str, value: Any) -> bool:
    """Whether a value is the default of a class's constructor; a list equals a tuple."""
    module, name = path.rsplit(".", 1)
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    default = parameters[argument].default if argument in parameters else None
    return value == default or list(value) == list(default or ())


def _refuse_linked(arguments: list[str]) -> None:
    """Raises `InputError` if a linked size is set, on the command line or in its YAML file."""
    given = {argument.split("=")[0].replace(".init_args", "") for argument in arguments}
    content = _preset(arguments)
    for part, follows in (LINKED | NESTED).items():
        for argument, source in follows.items():
            path = [*part.split("."), argument]
            if f"--{'.'.join(path)}" in given or is_stated(content, path):
                raise InputError(f"--{part}.{argument}: follows from {source}, set that instead")
