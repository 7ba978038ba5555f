"""The causes of faults that the judge knows.

Each module has a function `look`, which returns a `Finding` if the evidence shows the cause of the
module's name, and None otherwise. Modules are discovered: a new cause is one new file.
"""

from __future__ import annotations

from collections.abc import Callable

from pyrovae.inspection.judge import Evidence, Finding
from pyrovae.utils.discovery import modules_of

__all__ = ["CAUSES"]

#: All of them by name.
CAUSES: dict[str, Callable[[Evidence], Finding | None]] = {
    module.__name__.split(".")[-1]: module.look for module in modules_of(__name__)
}
