"""The `config.yaml` of a run that is started from Python."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

import numpy as np
import yaml

from pyrovae.data import ImageData
from pyrovae.engine import Engine
from pyrovae.posteriors import DiagonalNormal
from pyrovae.priors import StandardNormal
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.links import LINKS
from pyrovae.runs.directory import OTHERS
from pyrovae.runs.free import FREE, is_place
from pyrovae.training.callbacks import Callback
from pyrovae.training.loggers import Logger
from pyrovae.training.recipe import Recipe
from pyrovae.training.settings import Settings
from pyrovae.utils.arguments import Recorded, Writer
from pyrovae.utils.errors import InputError
from pyrovae.utils.plain import flat
from pyrovae.utils.text import within

__all__ = ["Description", "options_of"]


#: Options that a run keeps where a resumed run from Python has none.
KEPT = ("callbacks", "loggers", "init_from")
#: How an object can be written down.
HINT = "an object can be written down if its class derives from a base of pyrovae, in a .py file"


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
        options = _parts(writer, programs, data)
        self.in_memory = _in_memory(data)
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

    def changes(self, before: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """The options that differ from those of a run that resumes: before, and now.

        The number of epochs, the engine, the data's place, callbacks and loggers may differ. An
        argument that only one of both has is new, or was removed, in a version of its class. A
        part that the run does not name was lost: its file is damaged.
        """
        old, new = (
            {name: own or None if isinstance(own, list | dict) else own for name, own in options}
            for options in (flat(before).items(), flat(self.options).items())
        )
        lost = {n for n in new if "." not in n and old.get(n) is None} - {"freeze"}
        both = [n for n in {**old, **new} if "." not in n or {n} <= old.keys() & new.keys()]
        moved = {"data"} if old.get("data") != new.get("data") else set()
        fixed = [n for n in both if not is_place(n)]
        kept = [n for n in fixed if not within(n, (*FREE, *lost, *moved))]
        return {n: (old.get(n), new.get(n)) for n in kept if old.get(n) != new.get(n)}

    def text(self, before: Mapping[str, Any]) -> str:
        """The text of `config.yaml`.

        Args:
            before: the options of a run that resumes; its callbacks and loggers stay, if none are
                given.

        If an object cannot be written down, one warning names it. The text is then a comment with
        the same line, and the other options. One warning names the arguments that are in memory
        only.
        """
        _warn_of_memory(self.in_memory)
        kept = {name: before[name] for name in KEPT if before.get(name) is not None}
        text = yaml.safe_dump(kept | self.options, sort_keys=False, allow_unicode=True)
        if not self.missing:
            return text
        missing = " ".join("; ".join(self.missing).split())
        line = f"this run cannot be opened from its directory alone: {missing}; {HINT}"
        logging.getLogger("pyrovae").warning("%s", line)
        return "\n".join([f"# {line}", OTHERS, indent(text, "# ", lambda _: True)])


def _parts(writer: Writer, programs: ModelGuidePair, data: ImageData) -> dict[str, Any]:
    """The options from which `load` rebuilds programs: the data set, the programs, their parts."""
    return {"data": _data(writer, data), **_programs(writer, programs, data)}


def _warn_of_memory(names: Sequence[str]) -> None:
    """Warns that a run cannot hold arguments of its data set, if there are any."""
    if names:
        logging.getLogger("pyrovae").warning(
            "config.yaml cannot hold what is in memory (%s): the run opens without it; to "
            "evaluate or inspect the run, pass data= to evaluate_run and inspect_run, or save "
            "the same images and labels to a file and name the file in config.yaml: path, key "
            "and label_key of pyrovae.ArrayData",
            " and ".join(names),
        )


def options_of(programs: ModelGuidePair, data: ImageData) -> str:
    """The text of a `config.yaml` from which `load` rebuilds programs, without a run.

    Raises:
        InputError: if a part cannot be written down.
    """
    writer = Writer()
    options = _parts(writer, programs, data)
    if writer.missing:
        raise InputError(f"cannot be saved: {'; '.join(writer.missing)}")
    _warn_of_memory(_in_memory(data))
    return yaml.safe_dump(options, sort_keys=False, allow_unicode=True)


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


def _in_memory(data: ImageData) -> list[str]:
    """The given arguments of a data set that no file can hold."""
    given = Writer.given(data)
    left_out = [name for name, value in data.found().items() if value is None]
    return [f"data.{name}" for name in left_out if given.get(name) is not None]


def _programs(writer: Writer, programs: ModelGuidePair, data: ImageData) -> dict[str, Any]:
    """The options of the programs and of their parts."""
    names = [name for name in LINKS["program"] if name != "image_shape"]
    given = writer.given(programs)
    parts = {name: given[name] for name in names if name in given}
    parts |= _implied(parts)
    writer.missing += _misfits({"data": data, **parts, "program": programs})
    return {
        name: writer.part(parts[name], name, LINKS[name]) for name in names if name in parts
    } | {"program": writer.part(programs, "program", LINKS["program"])}


def _implied(parts: dict[str, Any]) -> dict[str, Any]:
    """The prior and the posterior that give the networks of programs without them their sizes."""
    sizes = (_arguments(parts.get(name)) for name in ("prior", "posterior", "decoder"))
    dim = next(filter(None, (given.get("latent_dim") for given in sizes)), None)
    kinds = {"prior": StandardNormal, "posterior": DiagonalNormal}
    return {name: made(dim) for name, made in kinds.items() if dim and name not in parts}


def _misfits(parts: dict[str, Any]) -> list[str]:
    """One message per argument of a part that differs from its value in the opened run."""
    found = []
    # A program may give other objects these names.
    known = {name: part for name, part in parts.items() if isinstance(part, Recorded)}
    for name, part in known.items():
        given = _arguments(part)
        for argument, link in LINKS.get(name, {}).items():
            own = given.get(argument)
            if own is None or not known.keys() >= {*link.sources}:
                continue
            other = link.compute(*(known[each] for each in link.sources))
            if not np.array_equal(own, other):
                found.append(f"{name}.{argument} is {own}, but {link.option} makes it {other}")
    return found


def _arguments(part: object) -> dict[str, Any]:
    """All arguments of a part's constructor, also those that were not given."""
    if not isinstance(part, Recorded):
        return {}
    known = inspect.signature(type(part)).parameters.values()
    defaults = {own.name: own.default for own in known if own.default is not own.empty}
    return defaults | Writer.given(part)
