"""The `config.yaml` of a run that is started from Python."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import yaml

from pyrovae.data import ImageData
from pyrovae.engine import Engine
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.links import LINKS
from pyrovae.training.callbacks import Callback
from pyrovae.training.loggers import Logger
from pyrovae.training.recipe import Recipe
from pyrovae.training.settings import Settings
from pyrovae.utils.arguments import Writer

__all__ = ["Description"]


class Description:
    """The options of a run that is started from Python, as `config.yaml` holds them.

    Callbacks and loggers that cannot be written down are left out: no run needs them to be
    opened, and a resumed run may have others.

    Args:
        settings: the settings of the trainer.
        programs: the model and the guide.
        data: the data set.
        recipe: the training recipe.
        engine: the device and the precision.
        callbacks: the callbacks besides the usual ones.
        loggers: the loggers; None for the usual ones.

    Attributes:
        options: plain values by name.
        missing: one message per object that cannot be written down, such as a lambda.
        in_memory: the arguments of the data set that `config.yaml` cannot hold.
    """

    def __init__(
        self,
        settings: Settings,
        programs: ModelGuidePair,
        data: ImageData,
        recipe: Recipe,
        engine: Engine,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] | None = None,
    ) -> None:
        writer = Writer()
        options = {"data": _data(writer, data), **_programs(writer, programs)}
        self.in_memory = _in_memory(writer, data)
        options["optimizer"] = writer.factory(recipe.optimizer, "optimizer")
        for name in ("schedule", "objective", "start"):
            options[name] = writer.value(getattr(recipe, name), name)
        if recipe.freeze:
            options["freeze"] = list(recipe.freeze)
        if callbacks:
            options["callbacks"] = _written(callbacks)
        if loggers is not None:
            options["loggers"] = _written(loggers)
        for name, group in (("beta", recipe.beta), ("trainer", settings), ("engine", engine)):
            options[name] = (writer.part(group, name) or {}).get("init_args", {})
        self.options, self.missing = options, writer.missing

    def text(self) -> str:
        """The text of `config.yaml`.

        If an object cannot be written down, one warning names it. The text is then a comment with
        the same line. One warning names the arguments that are in memory only.
        """
        if self.in_memory:
            logging.getLogger("pyrovae").warning(
                "config.yaml cannot hold what is in memory (%s): the run opens without it; to "
                "evaluate or inspect the run by its directory, save the same images and labels "
                "to a file, and name it in config.yaml: path, key and label_key of "
                "pyrovae.ArrayData",
                " and ".join(self.in_memory),
            )
        if not self.missing:
            return yaml.safe_dump(self.options, sort_keys=False, allow_unicode=True)
        missing = " ".join("; ".join(self.missing).split())
        line = f"this run cannot be opened by its directory alone: {missing}"
        logging.getLogger("pyrovae").warning("%s", line)
        return f"# {line}\n"


def _written(objects: Sequence[object]) -> list[Any]:
    """The classes and arguments of those objects that can be written down."""
    found = []
    for own in objects:
        writer = Writer()
        spec = writer.part(own, "")
        found += [] if writer.missing else [spec]
    return found


def _data(writer: Writer, data: ImageData) -> Any:
    """The data set, with the arguments that its images determine."""
    found = data.found()
    spec = writer.part(data, "data", found)
    if spec is None:
        return None
    return {**spec, "init_args": spec.get("init_args", {}) | found}


def _in_memory(writer: Writer, data: ImageData) -> list[str]:
    """The given arguments of a data set that no file can hold."""
    given = writer.given(data)
    left_out = [name for name, value in data.found().items() if value is None]
    return [f"data.{name}" for name in left_out if given.get(name) is not None]


def _programs(writer: Writer, programs: ModelGuidePair) -> dict[str, Any]:
    """The options of the programs and of their parts."""
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
