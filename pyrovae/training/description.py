"""A run that was begun from Python, as the options of the command line that would begin it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import yaml

from pyrovae.data import ImageData
from pyrovae.engine import Engine
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.links import LINKS
from pyrovae.training.loggers import Logger
from pyrovae.training.recipe import Recipe
from pyrovae.training.settings import Settings
from pyrovae.utils.arguments import Writer

__all__ = ["describe"]


def describe(
    settings: Settings,
    programs: ModelGuidePair,
    data: ImageData,
    recipe: Recipe,
    engine: Engine,
    loggers: Sequence[Logger] | None,
) -> str:
    """The text of `config.yaml`, from the arguments that the objects were made with.

    What cannot be written down is named in one warning, and in the text, which then is a comment.

    Args:
        settings: of the trainer.
        programs: the model and the guide.
        data: the data set.
        recipe: what is optimised and how.
        engine: where to compute.
        loggers: what reports the run; None leaves them to the command line.
    """
    writer = Writer()
    options = {"data": writer.part(data, "data"), **_programs(writer, programs)}
    options["optimizer"] = writer.factory(recipe.optimizer, "optimizer")
    for name in ("schedule", "objective", "start"):
        options[name] = writer.value(getattr(recipe, name), name)
    if loggers is not None:
        options["loggers"] = [writer.part(logger, "loggers") for logger in loggers]
    for name, group in (("beta", recipe.beta), ("trainer", settings), ("engine", engine)):
        options[name] = (writer.part(group, name) or {}).get("init_args", {})
    if not writer.missing:
        return yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
    missing = " ".join("; ".join(writer.missing).split())
    line = f"this run cannot be opened by its directory alone: {missing}"
    logging.getLogger("pyrovae").warning("%s", line)
    return f"# {line}\n"


def _programs(writer: Writer, programs: ModelGuidePair) -> dict[str, Any]:
    """The options of the programs, and of the parts that they were made of."""
    names = [name for name in LINKS["program"] if name != "image_shape"]
    given = writer.given(programs)
    parts = {
        name: writer.part(part, name, LINKS.get(name, ()))
        for name, part in given.items()
        if name in names
    }
    return {name: parts[name] for name in names if name in parts} | {
        "program": writer.part(programs, "program", LINKS["program"])
    }
