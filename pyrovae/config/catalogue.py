"""Lists every part by role with its docstring's summary, for `--help` and the README's table."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyrovae.config.roles import ALSO, ROLES
from pyrovae.inspection.sections import SECTIONS
from pyrovae.objectives import STOCK

__all__ = ["ROLES", "Entry", "concrete", "entries", "explain", "help_text", "markdown"]


@dataclass(frozen=True)
class Entry:
    """The description of a part, from its docstring.

    Attributes:
        name: the class name.
        summary: the first paragraph.
        formula: the first displayed formula, in LaTeX; empty if there is none.
        when: the paragraph that begins with "Use it"; empty if there is none.
        sources: the cited works, each with its address.
    """

    name: str
    summary: str
    formula: str
    when: str
    sources: list[tuple[str, str]]

    @classmethod
    def of(cls, part: type) -> Entry:
        """Reads the docstring of a part."""
        if part.__name__ in STOCK and not part.__module__.startswith("pyrovae."):
            summary, when = STOCK[part.__name__]
            return cls(part.__name__, summary, "", when, [])
        text = inspect.cleandoc(part.__doc__ or part.__name__)
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        formula = re.search(r"\$\$(.*?)\$\$", text, re.DOTALL)
        uses = [paragraph for paragraph in paragraphs if paragraph.startswith("Use it ")]
        cited = re.search(r"^References:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE)
        listed = " ".join(cited[1].split()) if cited else ""
        return cls(
            part.__name__,
            paragraphs[0],
            " ".join(formula[1].split()) if formula else "",
            uses[0] if uses else "",
            re.findall(r"\(([^()]*\d{4}[^()]*)\)[^()]*?(https?://[^\s;,]+)", listed),
        )


def concrete(base: type) -> list[type]:
    """The concrete subclasses of a class: of pyrovae, of the user, and Pyro's supported ones."""
    found: list[type] = []
    cls: type
    part: type
    for cls in base.__subclasses__():
        for part in ([] if inspect.isabstract(cls) else [cls]) + concrete(cls):
            unfit = part.__module__.startswith("pyro.") and part.__name__ not in STOCK
            if part not in found and not unfit:
                found.append(part)
    return found


def entries(base: type) -> list[Entry]:
    """The descriptions of all parts of a role, sorted by name."""
    return sorted((Entry.of(part) for part in concrete(base)), key=lambda entry: entry.name)


def help_text(roles: Iterable[str] = ROLES, width: int = 99) -> str:
    """The parts of these roles, each with its summary, as text of a given width."""
    lines = [
        "parts: choose one with --ROLE NAME and set its arguments with --ROLE.ARGUMENT VALUE;",
        "--ROLE.help NAME explains one; name your own by its dotted path, such as "
        "my_module.MyClass:",
    ]
    for option in roles:
        lines += ["", f"  --{option}"]
        for entry in entries(ROLES[option]):
            text = f"{entry.name:26s} {entry.summary}"
            lines += textwrap.wrap(text, width, initial_indent=" " * 4, subsequent_indent=" " * 31)
    return "\n".join(lines) + "\n"


def explain(
    option: str, name: str, follows: Iterable[str], describe: Callable[[Any, str], str]
) -> str | None:
    """Describes a part: summary, formula, use, sources, arguments. None if there is no such part.

    Args:
        option: the option of the role, such as "prior.flow".
        name: the class name.
        follows: the arguments to leave out because other parts determine them.
        describe: returns the text of a parser's options below one option.
    """
    from jsonargparse import ArgumentParser

    for part in concrete(ROLES[ALSO.get(option, option)]):
        if part.__name__ == name:
            entry = Entry.of(part)
            parser = ArgumentParser(prog=name)
            known = inspect.signature(part).parameters
            parser.add_class_arguments(part, option, skip={n for n in follows if n in known})
            head = [f"--{option} {name}", entry.summary, entry.formula, entry.when]
            head += [f"{cited}, {address}" for cited, address in entry.sources]
            return "\n".join(line for line in head if line) + f"\n\n{describe(parser, option)}"
    return None


def markdown() -> str:
    """The table of parts in Markdown: summary, formula, use, sources."""
    sections = []
    for option, base in ROLES.items():
        own = [part for part in concrete(base) if part.__module__.startswith("pyro")]
        rows = [_row(Entry.of(part)) for part in sorted(own, key=lambda part: part.__name__)]
        head = ["| class | what it is | when | source |", "| --- | --- | --- | --- |"]
        sections.append("\n".join([f"#### `--{option}`", "", *head, *rows]))
    sections.append(_report())
    return "\n\n".join(sections) + "\n"


def _report() -> str:
    """The table of the report's sections."""
    head = ["#### `inspect --sections`", "", "| section | what it shows | | |"]
    rows = [_section_row(name, make.__doc__ or name) for name, make in SECTIONS.items()]
    return "\n".join([*head, "| --- | --- | --- | --- |", *rows])


def _section_row(name: str, text: str) -> str:
    first = inspect.cleandoc(text).split("\n\n")[0]
    return f"| `{name}` | {' '.join(first.split())} | | |"


def _row(entry: Entry) -> str:
    # A bare bar would end the cell.
    plain = entry.formula.replace("\\|", "\\Vert ").replace("|", "\\vert ")
    formula = f"<br>$`{plain}`$" if plain else ""
    when = entry.when.removeprefix("Use it ")
    return f"| `{entry.name}` | {entry.summary}{formula} | {when} | {_links(entry.sources)} |"


def _links(sources: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"[{cited}]({address})" for cited, address in sources)
