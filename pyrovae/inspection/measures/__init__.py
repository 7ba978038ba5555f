"""The measurements for the judge that no section makes.

Each module has a function `measure`, which returns fields of `Evidence`. Modules are discovered:
a new measurement is one new file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyrovae.inspection.subject import Subject
from pyrovae.utils.discovery import modules_of

__all__ = ["MEASURES"]

#: All of them by name.
MEASURES: dict[str, Callable[[Subject], dict[str, Any]]] = {
    module.__name__.split(".")[-1]: module.measure for module in modules_of(__name__)
}
