"""Finds the modules of a package by looking into its folder, so that a new file needs no entry."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType

__all__ = ["exports", "modules_of"]


def modules_of(package: str) -> Iterator[ModuleType]:
    """Imports each module in the folder of a package, in the order of their names.

    Args:
        package: the dotted path of a package that is imported, or is being imported.
    """
    for found in pkgutil.iter_modules(sys.modules[package].__path__):
        yield importlib.import_module(f"{package}.{found.name}")


def exports(package: str, *bases: type) -> list[str]:
    """The names that a package of parts exports, to be called at the end of its `__init__`.

    These are the names that its star imports brought, and the parts of modules that it does not
    import: such a module needs no `__all__`.

    Args:
        package: `__name__` of the package.
        bases: the abstract classes of its parts.
    """
    names = vars(sys.modules[package])
    for module in modules_of(package):
        for name, value in vars(module).items():
            if _is_part(value, module, bases):
                names.setdefault(name, value)
    return sorted(name for name, value in names.items() if _is_public(name, value))


def _is_part(value: object, module: ModuleType, bases: tuple[type, ...]) -> bool:
    """Whether a value of a module is a public part that the module defines."""
    if not inspect.isclass(value) or value.__module__ != module.__name__:
        return False
    return issubclass(value, bases) and not value.__name__.startswith("_")


def _is_public(name: str, value: object) -> bool:
    """Whether a name is neither private, nor that of a module, nor imported from elsewhere."""
    if name.startswith("_") or isinstance(value, ModuleType):
        return False
    made = inspect.isclass(value) or inspect.isfunction(value)
    top, _, rest = str(getattr(value, "__module__", "")).partition(".")
    return not made or (top == __name__.split(".")[0] and rest != "utils.discovery")
