"""Builds objects from a configuration: parts, the recipe, the VAE of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from pyrovae.config.blame import blamed
from pyrovae.config.naming import arguments_of, loaded_class
from pyrovae.config.options import parts_parser
from pyrovae.config.parsing import Parser
from pyrovae.config.resuming import read_config
from pyrovae.config.roles import PARTS
from pyrovae.config.trust import Consent
from pyrovae.data import ImageData, as_image_data, spread
from pyrovae.data.base import fingerprint
from pyrovae.engine import Engine
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.links import LINKS
from pyrovae.runs import RunDirectory
from pyrovae.runs.free import PLACES
from pyrovae.runs.own_code import place_in_own_code
from pyrovae.training.initialization import WarmStart
from pyrovae.training.recipe import Recipe
from pyrovae.utils.errors import InputError
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.text import cut_line, listed

__all__ = ["build_vae", "check_images", "instantiate", "load_run", "recipe"]


def instantiate(parser: Parser, config: Namespace) -> Any:
    """Builds the objects that a configuration names.

    Raises:
        InputError: if a constructor refuses its arguments.
    """
    try:
        return parser.instantiate(_used(config))
    except (ValueError, TypeError) as error:
        # The parser lists the error of a program among several reasons, with all parts printed.
        refused = error.__cause__ if "Union subtypes" in str(error) else None
        message = parser.in_one_line(str(refused or error))
        line = parser.with_file(blamed(config.as_dict(), error, message))
        raise InputError(line + place_in_own_code(error)) from error


def _used(config: Namespace) -> Namespace:
    """A configuration without the parts that its program does not use, which may not fit.

    A part stays if it determines the size of another one, such as a prior.
    """
    used = config.clone()
    program = loaded_class(config.program.class_path) if "program" in config else None
    needed: set[str] = set()
    found = {*LINKS["program"]} if program is None else {*arguments_of(program)}
    while found - needed:
        needed |= found
        links = [link for part in found & {*LINKS} for link in LINKS[part].values()]
        found = {source for link in links for source in link.sources}
    for part in LINKS["program"]:
        if part in used and part not in needed:
            used[part] = None
    return used


def recipe(objects: Any) -> Recipe:
    """The recipe of an instantiated configuration: objective, optimiser, schedules, start."""
    names = ("optimizer", "schedule", "objective", "beta", "start")
    made = {name: objects[name] for name in names}
    if objects.init_from is not None:
        made["start"] = WarmStart(objects.init_from)
    return Recipe(**made, freeze=objects.freeze or ())


def build_vae(objects: Any) -> ModelGuidePair:
    """The programs of an instantiated configuration, with the data set that prepares images."""
    programs: ModelGuidePair = objects.program
    programs.data = objects.data
    return programs


def load_run(
    run_dir: str | Path,
    checkpoint: str = "best",
    device: str | torch.device = "cpu",
    trust: bool = False,
    places: Mapping[str, str | Path | None] | None = None,
    data: Any = None,
) -> tuple[ModelGuidePair, ImageData]:
    """Loads a run: its programs with their weights, in evaluation mode, and its data set.

    Args:
        run_dir: the run directory.
        checkpoint: "best" or "last".
        device: the device of the weights.
        trust: whether the run may name any class.
        places: where the images are now: arguments of the data set, such as `root`. None leaves
            one out, such as the table of attributes.
        data: the images, in place of those that the run names; see `as_image_data`.

    Raises:
        InputError: if the run cannot be opened, or its data set has no such argument.
    """
    run, consent = RunDirectory(run_dir), Consent(trust)
    config, weights = read_config(run, consent, PARTS), run.weights(checkpoint)
    parser = parts_parser(exit_on_error=False)
    with _rebuilding(run, parser):
        parsed = parser.parse_object({name: config[name] for name in PARTS if name in config})
        consent.check_parsed(parsed.as_dict(), [])
    _move(run, parsed.data, places or {})
    # The random weights of new networks are replaced.
    with _rebuilding(run, parser), private_randomness(0, torch.device("cpu")):
        objects = instantiate(parser, parsed)
        vae = build_vae(objects)
        vae.load_state_dict(weights)
    vae.data, vae.fitted = objects.data if data is None else as_image_data(data), True
    return vae.to(Engine(str(device), "fp32").device).eval(), vae.data


@contextmanager
def _rebuilding(run: RunDirectory, parser: Parser) -> Iterator[None]:
    """Names the run's configuration in any error."""
    try:
        yield
    except Exception as error:  # A changed file or a missing module of the user raises anything.
        known = isinstance(error, InputError)  # Its message is one line already.
        reason = str(error) if known else parser.in_one_line(str(error))
        line = cut_line(f"the parts cannot be rebuilt: {reason}")
        raise InputError(f"{run.config}: {line}") from error


def _move(run: RunDirectory, data: Namespace, places: Mapping[str, str | Path | None]) -> None:
    """Sets where the images are in the configuration of a run's data set."""
    name = data.class_path.rpartition(".")[2]
    known = arguments_of(loaded_class(data.class_path) or ImageData)
    allowed = [own for own in PLACES if own in known]
    for argument, place in places.items():
        if argument not in allowed:
            options = listed(f"--data.{own}" for own in allowed)
            reason = f"allowed are {options}" if allowed else "its images are not in files"
            raise InputError(f"--data.{argument}: the images of {run.root} are {name}; {reason}")
        data[f"init_args.{argument}"] = None if place is None else str(place)


def check_images(run: RunDirectory, data: ImageData) -> None:
    """Warns if a data set's training images differ from those the run was trained on."""
    images = data.split("train").images
    run.check_images(len(images), fingerprint(spread(images, 256)))
