"""Names the option that a constructor refused: the part's own error names its argument only."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Any

from pyrovae.config.naming import loaded_class
from pyrovae.config.trust import GROUPS
from pyrovae.programs.links import LINKS

__all__ = ["blamed"]

SHORTEST = 3  # A shorter value occurs in many messages by chance.


def blamed(config: dict[str, Any], error: BaseException, message: str) -> str:
    """Returns an error message that begins with the option that caused it.

    Args:
        config: the parsed configuration.
        error: the error of a constructor in the configuration.
        message: the error's message in one line.
    """
    if message.startswith("--"):
        return message
    specs = list(_specs(config))
    for made in reversed(list(_constructed(error))):
        found = [(path, own) for path, cls, own in specs if cls is made]
        if found:
            # Of several parts of one class, that whose value the message ends with is refused.
            path, own = max(found, key=lambda spec: _gives(spec[1], message))
            if path == "program":
                return _of_program(own, message)
            return f"--{_option(path, own, message)}: {message}"
    return message


def _gives(arguments: dict[str, Any], message: str) -> bool:
    """Whether a message ends with the value of an argument that it names."""
    return any(
        re.search(rf"\b{re.escape(name)}\b", message) and message.endswith(f"got {value}")
        for name, value in arguments.items()
    )


def _of_program(arguments: dict[str, Any], message: str) -> str:
    """The message; no option is to blame if the parts of a program do not fit together."""
    first = message.split()[0]
    own = first in arguments and first not in LINKS["program"]
    return f"--program.{first}: {message}" if own else message


def _option(path: str, arguments: dict[str, Any], message: str) -> str:
    """The argument that a message names first, else by value; else the part's option."""
    named = {name: re.search(rf"\b{re.escape(name)}\b", message) for name in arguments}
    found = {name: match.start() for name, match in named.items() if match}
    if found:
        return f"{path}.{min(found, key=lambda name: found[name])}"
    for name, value in arguments.items():
        if len(str(value)) > SHORTEST and str(value) in message:
            return f"{path}.{name}"
    return path


def _constructed(error: BaseException) -> Iterator[type]:
    """Yields the classes whose constructors are in an error's traceback, the innermost last."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "__init__" and "self" in frame.f_locals:
            yield type(frame.f_locals["self"])
    if error.__cause__ is not None:  # The parser wraps the constructor's error in its own.
        yield from _constructed(error.__cause__)


def _specs(config: dict[str, Any]) -> Iterator[tuple[str, type | None, dict[str, Any]]]:
    """Yields the option, the class and the arguments of each part in a configuration."""
    for name, value in config.items():
        if name in GROUPS and isinstance(value, dict):
            yield name, GROUPS[name], value
        yield from _parts(value, name)


def _parts(value: Any, path: str) -> Iterator[tuple[str, type | None, dict[str, Any]]]:
    if not isinstance(value, dict):
        return
    arguments = value.get("init_args") or {}
    if "class_path" in value:
        yield path, loaded_class(str(value["class_path"])), arguments
    for name, inner in (arguments if "class_path" in value else value).items():
        yield from _parts(inner, f"{path}.{name}")
