"""Finds the modules in the folder of a package, so that a new file needs no registration."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from types import GenericAlias, ModuleType
from typing import TypeGuard

__all__ = ["exports", "is_class", "modules_of"]


def modules_of(package: str) -> Iterator[ModuleType]:
    """Imports each module in the folder of a package, in the order of their names.

    Args:
        package: the dotted path of a package that is imported, or is being imported.
    """
    for found in pkgutil.iter_modules(sys.modules[package].__path__):
        yield importlib.import_module(f"{package}.{found.name}")


def exports(package: str, *bases: type) -> list[str]:
    """Returns the exported names of a package of parts; call it at the end of its `__init__`.

    These are the names from its star imports, and the parts of modules that `__init__` does not
    import: such a module needs no `__all__`.

    Args:
        package: the `__name__` of the package.
        bases: the base classes of its parts.
    """
    names = vars(sys.modules[package])
    for module in modules_of(package):
        for name, value in vars(module).items():
            if _is_part(value, module, bases):
                names.setdefault(name, value)
    return sorted(name for name, value in names.items() if _is_public(name, value))


def is_class(value: object) -> TypeGuard[type]:
    """Whether a value is a class. For Python 3.10, `list[int]` is an instance of `type`.

    Example:
        >>> is_class(list), is_class(list[int]), is_class(3)
        (True, False, False)
    """
    return isinstance(value, type) and not isinstance(value, GenericAlias)


def _is_part(value: object, module: ModuleType, bases: tuple[type, ...]) -> bool:
    """Whether a value is a public part that is defined in this module."""
    if not is_class(value) or value.__module__ != module.__name__:
        return False
    return issubclass(value, bases) and not value.__name__.startswith("_")


def _is_public(name: str, value: object) -> bool:
    """Whether a name is public, not a module, and not imported from another package."""
    if name.startswith("_") or isinstance(value, ModuleType):
        return False
    made = is_class(value) or inspect.isfunction(value)
    top, _, rest = str(getattr(value, "__module__", "")).partition(".")
    return not made or (top == __name__.split(".")[0] and rest != "utils.discovery")
