"""One page of HTML that needs nothing else: text, tables, figures as data."""

from __future__ import annotations

import base64
import numbers
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from pyrovae.inspection.section import Drawing, Section

if TYPE_CHECKING:
    import pandas

__all__ = ["page"]

#: Rows of a table that the page shows; the files have all of them.
ROWS = 12

STYLE = """
:root { --ink: #1d1d1f; --soft: #5f6368; --line: #d9dce0; --mark: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: var(--ink); background: white;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0.5rem 0 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.5rem; border-top: 1px solid var(--line);
  padding-top: 1.2rem; }
p { margin: 0.5rem 0; }
.soft, figcaption { color: var(--soft); font-size: 0.9rem; }
.verdict { border-left: 6px solid var(--mark); background: #f3f7fa; padding: 0.8rem 1rem;
  margin: 1rem 0; }
.verdict strong { font-size: 1.3rem; }
.advice { border-left: 4px solid #d55e00; padding-left: 0.8rem; }
.failed { border-left: 4px solid #767676; padding-left: 0.8rem; color: var(--soft); }
ul { padding-left: 1.2rem; }
li { margin: 0.3rem 0; }
a { color: var(--mark); }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 0.5rem 0; }
th, td { padding: 0.2rem 0.7rem 0.2rem 0; text-align: right; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
details { margin: 0.4rem 0; }
summary { cursor: pointer; color: var(--mark); }
"""


def page(
    title: str,
    about: list[str],
    verdict: Section | None,
    sections: dict[str, Section],
    failed: dict[str, str],
) -> str:
    """The whole report.

    Args:
        title: of the page.
        about: what was looked at, one line each.
        verdict: the section that opens the page as its verdict.
        sections: by name, in order.
        failed: why other sections could not be made, by name.
    """
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="soft">{escape(line)}</p>' for line in about),
        _verdict(verdict, sections) if verdict else "",
        _findings(sections, verdict),
        *(_section(name, own) for name, own in sections.items()),
        *(_failed(name, reason) for name, reason in failed.items()),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # An icon of nothing: browsers would ask the network for one.
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _verdict(section: Section, sections: dict[str, Section]) -> str:
    first, *others = section.says
    mend = [
        f'<a href="#{escape(name)}">{escape(own.title)}</a>'
        for name, own in sections.items()
        if own.advice and own is not section
    ]
    elsewhere = f"<p><b>To mend, said elsewhere:</b> {' '.join(mend)}</p>" if mend else ""
    return (
        f'<div class="verdict"><strong>{escape(first)}</strong>{elsewhere}{_paragraphs(others)}'
        f"</div>{_advice(section.advice)}"
    )


def _findings(sections: dict[str, Section], verdict: Section | None) -> str:
    """What each section says first, with the way to it."""
    items = [
        f'<li><a href="#{escape(name)}">{escape(own.title)}</a> {escape(own.says[0])}'
        + "".join(f'<br><span class="soft">Try: {escape(line)}</span>' for line in own.advice[:1])
        + "</li>"
        for name, own in sections.items()
        if own is not verdict
    ]
    return f"<ul>{''.join(items)}</ul>"


def _section(name: str, section: Section) -> str:
    parts = [
        f'<section id="{escape(name)}"><h2>{escape(section.title)}</h2>',
        _paragraphs(section.says),
        _advice(section.advice),
        *(_figure(f"{name}_{key}", drawing) for key, drawing in section.figures.items()),
        *(_table(f"{name}_{key}", table) for key, table in section.tables.items()),
        "</section>",
    ]
    return "\n".join(parts)


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _advice(sentences: list[str]) -> str:
    if not sentences:
        return ""
    return f'<div class="advice"><p><b>What to try</b></p>{_paragraphs(sentences)}</div>'


def _failed(name: str, reason: str) -> str:
    words = f"{name.replace('_', ' ')}: not made, {reason}"
    return f'<p class="failed">{escape(words)}</p>'


def _figure(name: str, drawing: Drawing) -> str:
    data = base64.b64encode(drawing.png).decode()
    words = escape(drawing.caption)
    return (
        f'<figure id="{escape(name)}"><img alt="{words}" src="data:image/png;base64,{data}">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _table(name: str, table: pandas.DataFrame) -> str:
    kinds = ["" if _is_number(table[column]) else ' class="text"' for column in table]
    head = "".join(
        f"<th{kind}>{escape(str(column).replace('_', ' '))}</th>"
        for column, kind in zip(table, kinds, strict=True)
    )
    rows = [
        "<tr>"
        + "".join(
            f"<td{kind}>{escape(_cell(value))}</td>"
            for value, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in table.head(ROWS).itertuples(index=False, name=None)
    ]
    of = f"first {ROWS} of {len(table):,} rows, all in " if len(table) > ROWS else ""
    return (
        f"<details{' open' if len(table) <= ROWS else ''}><summary>{escape(name)}: {of}"
        f'{escape(name)}.csv</summary><div class="scroll"><table><tr>{head}</tr>'
        + "".join(rows)
        + "</table></div></details>"
    )


def _is_number(column: pandas.Series) -> bool:
    return column.dtype.kind in "iuf"


def _cell(value: object) -> str:
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, numbers.Integral)):
        return "" if value != value else f"{float(value):.4g}"
    return str(value)
