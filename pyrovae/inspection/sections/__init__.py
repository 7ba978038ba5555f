"""The questions of the report: each module has a function `section` that answers one.

A module's name is that of its section, the first sentence of `section` says what it is, and its
`PLACE` decides where it stands in the report: lower numbers come first. A new file is found.
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
