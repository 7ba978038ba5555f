"""Packages that only some features need."""

from __future__ import annotations

import importlib
from typing import Any

from pyrovae.utils.errors import InputError

__all__ = ["optional_package"]


def optional_package(name: str, extra: str = "") -> Any:
    """Imports a package; raises an `InputError` that names its extra if it is not installed.

    Args:
        name: the package.
        extra: the extra of pyrovae that installs it; by default of the same name.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{name} is not installed; pip install 'pyrovae[{extra or name}]'"
        raise InputError(message) from error
