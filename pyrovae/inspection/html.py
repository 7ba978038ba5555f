"""The report as one self-contained HTML page: text, tables and embedded figures."""

from __future__ import annotations

import base64
import numbers
from functools import cache
from typing import TYPE_CHECKING

from pyrovae.inspection.section import Section
from pyrovae.utils.lazy import pandas
from pyrovae.utils.pages import template

if TYPE_CHECKING:
    import jinja2

__all__ = ["page"]

#: Rows of a table that the page shows; the CSV files have all of them.
ROWS = 12


def page(
    title: str, about: list[str], sections: dict[str, Section], failed: dict[str, str]
) -> str:
    """Renders a report with the template `report.html.j2`.

    Args:
        title: of the page.
        about: lines on the images and the weights.
        sections: by name, in order; `collapse` is at the top of the page.
        failed: the reasons why other sections could not be made, by name.
    """
    verdict = sections.get("collapse")
    advising = {name: own for name, own in sections.items() if own.advice and own is not verdict}
    parts = {"verdict": verdict, "elsewhere": advising, "sections": sections, "failed": failed}
    return _template().render(title=title, about=about, rows=ROWS, **parts)


@cache
def _template() -> jinja2.Template:
    filters = {"base64": _base64, "cell": _cell, "text_columns": _text_columns}
    return template("pyrovae.inspection", "report.html.j2", **filters)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _text_columns(table: pandas.DataFrame) -> list[bool]:
    """Whether each column holds something other than numbers."""
    return [table[column].dtype.kind not in "iuf" for column in table]


def _cell(value: object) -> str:
    """A value of a table: four digits of a float, nothing for NaN."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, numbers.Integral)):
        return "" if value != value else f"{float(value):.4g}"
    return str(value)
