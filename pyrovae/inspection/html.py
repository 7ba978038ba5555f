"""The report as one self-contained HTML page: text, tables and embedded figures."""

from __future__ import annotations

import base64
import inspect
import numbers
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.labels import label
from pyrovae.inspection.judge.limits import LEAST
from pyrovae.utils.lazy import pandas
from pyrovae.utils.pages import template
from pyrovae.utils.plain import spelled

if TYPE_CHECKING:
    import jinja2

__all__ = ["ROWS", "measurements", "number", "render"]

#: Rows of a table that the page shows; the CSV files have all of them.
ROWS = 12


def render(name: str, **values: Any) -> str:
    """Renders a page with a template of this package.

    Args:
        name: of the template.
        **values: that the template shows.
    """
    return _template(name).render(least=LEAST, **values)


@cache
def _template(name: str) -> jinja2.Template:
    filters: dict[str, Callable[..., Any]] = {
        "base64": _base64,
        "cell": _cell,
        "text_columns": _text_columns,
        "short": _short,
        "settings": _settings,
        "measurements": measurements,
    }
    return template("pyrovae.inspection", name, **filters)


def measurements(evidence: Evidence) -> pandas.DataFrame:
    """The known measurements of a run with their meanings.

    Args:
        evidence: on the run.
    """
    table = evidence.table()
    text = inspect.cleandoc(Evidence.__doc__ or "")  # Python 3.13 removes the indentation itself.
    pairs = re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", text, re.MULTILINE)
    words = {name: " ".join(own.split()).rstrip(".") for name, own in pairs}
    names = table["measurement"]
    meaning = [words.get(name, "") for name in names]
    return table.assign(measurement=[label(name) for name in names], meaning=meaning)


def _settings(evidence: Evidence) -> pandas.DataFrame:
    """The options of the run."""
    rows = [(f"--{name}", spelled(value)) for name, value in evidence.options.values.items()]
    return pandas.DataFrame(rows, columns=["option", "value"])


def _short(reason: str) -> str:
    """The first sentence."""
    first, stop, _ = reason.partition(". ")
    return f"{first}." if stop else reason


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _text_columns(table: pandas.DataFrame) -> list[bool]:
    """Whether each column holds something other than numbers."""
    return [table[column].dtype.kind not in "iuf" for column in table]


def _cell(value: object, digits: int = 4) -> str:
    """A value of a table: some digits or all digits of a whole part, nothing for NaN."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, numbers.Integral)):
        return "" if value != value else number(float(value), digits=digits)
    return str(value)


def number(value: float, sign: str = "", digits: int = 4) -> str:
    """A number with some digits, or with all digits of its whole part.

    Args:
        value: the number.
        sign: "+" to mark positive numbers.
        digits: how many.

    Example:
        >>> number(19852.4), number(0.123456), number(3.0, "+")
        ('19,852', '0.1235', '+3')
    """
    return f"{value:{sign},.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:{sign}.{digits}g}"
