"""Finds the classes that dotted paths name and that arguments accept, without importing them."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pyro.infer import ELBO

from pyrovae.config.roles import ROLES
from pyrovae.runs.own_code import module_file, place_in_own_code
from pyrovae.utils.discovery import is_class
from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn
from pyrovae.utils.text import cut, within

__all__ = [
    "Hint",
    "arguments_of",
    "below",
    "find_own_parts",
    "hint_of",
    "is_dotted",
    "is_known",
    "is_number",
    "known_class",
    "loaded_class",
    "origins",
    "own_class",
]

#: The packages whose classes need no consent, by role; for other roles, only pyrovae.
PACKAGES: dict[type, tuple[str, ...]] = {
    torch.nn.Module: ("torch.nn",),
    torch.optim.Optimizer: ("torch.optim",),
    ELBO: ("pyrovae", "pyro.infer"),
}
#: Types in an annotation for which the parser does not import a text.
PLAIN = (str, int, float, bool, types.NoneType)


def known_class(name: str, base: type) -> type | None:
    """The class of this name if it needs no consent, else None.

    Args:
        name: the class name, or the dotted path of a class in an imported module.
        base: the class must be a subclass of it.

    Example:
        >>> from pyrovae import Prior
        >>> known_class("pyrovae.StandardNormal", Prior).__name__
        'StandardNormal'
        >>> known_class("pyrovae.engine.torch.nn.ReLU", Prior), known_class("pyrovae.VAE", Prior)
        (None, None)
    """
    if base is object:
        return None
    if "." not in name:
        named = [found for found in below(base) if found.__name__ == name and is_known(found)]
        return named[0] if named else None
    found = loaded_class(name) if within(name, origins(base)) else None
    return found if found is not None and is_known(found) and issubclass(found, base) else None


def own_class(name: str, base: type, where: str, copies: Path | None = None) -> type:
    """Imports a class of the user, also from a run's copies and from the current directory.

    Args:
        name: the dotted path of the class.
        base: the class must be a subclass of it.
        where: the option that names the class, for messages.
        copies: the folder with a run's copies of its modules; these come first.

    Raises:
        InputError: if the class cannot be imported, or is not a subclass of `base`.
    """
    find_own_parts()
    try:
        with _copies_first(copies):
            found = _imported(name)
    except (KeyboardInterrupt, InputError):
        raise
    except BaseException as error:  # A module of the user may raise anything, even SystemExit.
        said, reason = f"{where}: '{cut(name)}' cannot be imported: ", cut(error)
        if place := place_in_own_code(error):
            raise InputError(said + reason + place) from error
        if isinstance(error, ModuleNotFoundError):
            reason += " (looked for in this directory too)"
        elif not isinstance(error, ImportError | AttributeError):
            reason = f"{type(error).__name__}: {reason}"
        raise InputError(said + reason) from error
    if not is_class(found):
        raise InputError(f"{where}: {cut(name)} is not a class; only classes are allowed")
    if not issubclass(found, base):
        raise InputError(f"{where}: {cut(name)} must be a subclass of {base.__name__}")
    return found


def find_own_parts() -> None:
    """Adds the current directory to the end of the import path.

    At the end, a file there never replaces an installed module.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


@contextmanager
def _copies_first(folder: Path | None) -> Iterator[None]:
    """Context in which modules are imported from a run's copies, without bytecode files there.

    Raises:
        InputError: if another version of such a module is imported already.
    """
    copies = [] if folder is None else sorted(folder.rglob("*.py"))
    for copy in copies:
        _check_same(copy, copy.relative_to(folder or ""))
    if not copies:
        yield
        return
    place, before = str(folder), sys.dont_write_bytecode
    if place not in sys.path:
        sys.path.append(place)  # For modules that the parts import later.
    sys.path.insert(0, place)
    sys.dont_write_bytecode = True
    try:
        importlib.invalidate_caches()
        yield
    finally:
        sys.path.remove(place)
        sys.dont_write_bytecode = before


def _check_same(copy: Path, inner: Path) -> None:
    """Compares a copy with the imported module, which it cannot replace, and with a file here."""
    module = ".".join(inner.with_suffix("").parts).removesuffix(".__init__")
    imported, content = module_file(module), copy.read_bytes()
    if imported is not None and imported.read_bytes() != content:
        raise InputError(
            f"{copy}: another version of this module is imported already, from {imported}; open "
            "the run in a new process"
        )
    here = Path.cwd() / inner
    if imported is None and here.is_file() and here.read_bytes() != content:
        line = f"uses {copy}, the run's copy, which differs from {inner} in this directory"
        warn(line)


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if "__main__" in path.split("."):
        raise ImportError("__main__ is a command and holds no parts")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if "." not in module or error.name != module:
            raise
        return getattr(_imported(module), name)  # A class within a class.


def loaded_class(path: str) -> type | None:
    """The class of a dotted path if its module has been imported, else None."""
    module, _, name = path.rpartition(".")
    place = sys.modules.get(module)
    found = vars(place).get(name) if isinstance(place, types.ModuleType) else None
    if found is None and module == "pyrovae":
        found = getattr(place, name, None)  # The package imports its names on first use.
    return found if is_class(found) else None


def origins(base: type) -> tuple[str, ...]:
    """The packages whose classes of a role need no consent."""
    return () if base is object else PACKAGES.get(base, ("pyrovae",))


def is_known(found: type) -> bool:
    """Whether a class is defined in pyrovae, or in a package whose classes serve as parts."""
    return within(found.__module__, ("pyrovae", "pyro.infer", "torch.nn", "torch.optim"))


def is_dotted(name: str) -> bool:
    """Whether a text is a dotted path that could be imported."""
    return "." in name and all(part.isidentifier() for part in name.split("."))


def is_number(text: str) -> bool:
    """Whether a text is a number, true, false, null or empty."""
    with suppress(ValueError):
        float(text)
        return True
    return text.strip().lower() in ("true", "false", "null", "")


def below(base: type) -> list[type]:
    """A class and all its subclasses."""
    found: dict[type, None] = {base: None}
    cls: type
    for cls in base.__subclasses__() if base is not object else ():
        found |= dict.fromkeys(below(cls))
    return list(found)


@dataclass(frozen=True)
class Hint:
    """What the annotation of an argument allows.

    Attributes:
        base: the base class if the argument is a part, else None.
        text: whether any text is allowed.
        untyped: whether there is no annotation and the default is not a text.
        infinite: whether the default is infinite, so that infinity is a value like others.
    """

    base: type | None
    text: bool
    untyped: bool
    infinite: bool


def hint_of(owners: list[type], name: str) -> Hint | None:
    """The strictest hint of an argument among these classes; None if no class has it."""
    found = [arguments_of(owner)[name] for owner in owners if name in arguments_of(owner)]
    if not found:
        return None
    bases = [hint.base for hint in found if hint.base is not None]
    text, untyped = all(hint.text for hint in found), any(hint.untyped for hint in found)
    infinite = any(hint.infinite for hint in found)
    return Hint(bases[0] if bases else None, text, untyped, infinite)


@cache
def arguments_of(cls: type) -> dict[str, Hint]:
    """The arguments of a class, and of its base classes if `**kwargs` passes them on."""
    found: dict[str, Hint] = {}
    for owner in cls.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        foreign = is_known(owner) and not within(owner.__module__, ("pyrovae",))
        parameters = list(_signature(owner).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, _hint(parameter, foreign))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _signature(owner: type) -> inspect.Signature:
    constructor = vars(owner)["__init__"]
    try:
        return inspect.signature(constructor, eval_str=True)
    except Exception:  # An annotation may name a class that only type checkers import.
        return inspect.signature(constructor)


def _hint(parameter: inspect.Parameter, foreign: bool) -> Hint:
    annotation, default = parameter.annotation, parameter.default
    infinite = isinstance(default, float) and math.isinf(default)
    if annotation is parameter.empty:
        text = isinstance(default, str)
        return Hint(None, text, not text, infinite)
    # Classes of PyTorch and Pyro take plain values: none of their arguments is a part.
    return Hint(None if foreign else _base(annotation), _is_text(annotation), False, infinite)


def _base(annotation: Any) -> type | None:
    """The class in an annotation such as `Flow`, `Schedule | None` or `Callable[[int], Flow]`."""
    if typing.get_origin(annotation) is Callable:
        return _base(typing.get_args(annotation)[-1])
    inner = (_base(part) for part in typing.get_args(annotation))
    if found := next((base for base in inner if base is not None), None):
        return found
    roles = (*ROLES.values(), *PACKAGES)
    return annotation if is_class(annotation) and issubclass(annotation, roles) else None


def _is_text(annotation: Any) -> bool:
    """Whether an annotation allows any text without the parser importing it."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = typing.get_args(annotation)
        return any(map(_is_text, parts)) and all(map(_is_plain, parts))
    return annotation is str or typing.get_origin(annotation) is typing.Literal


def _is_plain(annotation: Any) -> bool:
    return annotation in PLAIN or typing.get_origin(annotation) in (typing.Literal, tuple, list)
