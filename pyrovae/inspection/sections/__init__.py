"""The sections of the report, each of which answers one question.

Each module has a function `section`, which makes the section of the module's name. The first
sentence of its docstring describes it in help texts. `PLACE` is its position in the report, lower
numbers first. Modules are discovered: a new section is one new file.
"""

from __future__ import annotations

from collections.abc import Callable

from pyrovae.inspection.section import Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.discovery import modules_of

__all__ = ["SECTIONS"]

#: All of them by name, in the order of the report.
SECTIONS: dict[str, Callable[[Subject], Section]] = {
    module.__name__.split(".")[-1]: module.section
    for module in sorted(modules_of(__name__), key=lambda module: module.PLACE)
}
