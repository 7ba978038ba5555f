"""The user's own modules: copies, so that a run opens from any folder, and their errors."""

from __future__ import annotations

import ast
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from pyrovae.utils.files import replace_file
from pyrovae.utils.plain import from_yaml

__all__ = ["OWN_PARTS", "copy_own_code", "module_file", "names_own_classes", "place_in_own_code"]

#: The folder of the copies, next to `config.yaml`.
OWN_PARTS = "parts"

_LIBRARIES = ("pyrovae", "torch", "pyro")
_INSTALLED = {"site-packages", "dist-packages"}


def copy_own_code(config: str, folder: Path) -> None:
    """Copies the user's modules that a configuration names, and those that they import.

    Args:
        config: the text of `config.yaml`.
        folder: the folder of the copies; a module `a.b` becomes `a/b.py` in it.
    """
    found: dict[str, Path] = {}
    for name in _texts(from_yaml(config)):
        if "." in name:
            _collect(name, found)
    for name, file in found.items():
        parts = name.split(".")
        inner = [*parts, "__init__.py"] if file.name == "__init__.py" else [*parts[:-1], file.name]
        target = folder.joinpath(*inner)
        if not target.is_file() or target.read_bytes() != file.read_bytes():
            replace_file(target, file.read_bytes())


def module_file(name: str) -> Path | None:
    """The Python file of an imported module; None if there is none."""
    module = sys.modules.get(name)
    file = vars(module).get("__file__") if module is not None else None
    return Path(file) if isinstance(file, str) and file.endswith(".py") else None


def place_in_own_code(error: BaseException | None) -> str:
    """The kind of an error and the line of a file of the user, in brackets; empty if in none."""
    found = ""
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            file = Path(frame.f_code.co_filename)
            module = str(frame.f_globals.get("__name__", ""))
            if file.suffix == ".py" and _is_own(module, file):
                found = f" ({type(error).__name__} in {file.name}, line {line})"
            elif module.startswith("pyrovae."):
                found = ""  # The user's code passes on a value that the package refuses.
        error = error.__cause__  # The parser wraps a constructor's error in its own.
    return found


def names_own_classes(config: Any) -> bool:
    """Whether a configuration, as plain values, names a class of the user.

    Example:
        >>> names_own_classes({"prior": {"class_path": "FlowPrior"}})
        False
        >>> names_own_classes({"prior": {"class_path": "my_parts.Cauchy"}})
        True
    """
    if isinstance(config, list):
        return any(map(names_own_classes, config))
    if not isinstance(config, dict):
        return False
    top, _, rest = str(config.get("class_path", "")).partition(".")
    return bool(rest and top not in _LIBRARIES) or any(map(names_own_classes, config.values()))


def _texts(value: Any) -> Iterator[str]:
    """All texts in a configuration."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


def _collect(name: str, found: dict[str, Path]) -> None:
    """Adds the user's modules along a dotted path, and all that they import."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        file = module_file(module)
        if module in found or file is None or not _is_own(module, file):
            continue
        found[module] = file
        for imported in _imports(module, file):
            _collect(imported, found)


def _is_own(module: str, file: Path) -> bool:
    """Whether a module is neither installed nor a part of Python."""
    if module.split(".")[0] in (*_LIBRARIES, "__main__") or _INSTALLED & set(file.parts):
        return False
    return not file.resolve().is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


def _imports(module: str, file: Path) -> Iterator[str]:
    """The dotted paths that a module imports, also inside functions."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{source}.{alias.name}" for alias in node.names)
