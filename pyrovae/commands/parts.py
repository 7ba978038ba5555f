"""`pyrovae parts`: lists all parts; `--write FILE` writes their table into a Markdown file."""

from __future__ import annotations

from pathlib import Path

from pyrovae.config.catalogue import help_text, markdown
from pyrovae.config.parsing import Parser
from pyrovae.utils.files import write_between

MARKS = ("<!-- parts: made by scripts/list_parts.py -->\n", "<!-- end of parts -->\n")


def main(arguments: list[str]) -> None:
    """Prints the list, or writes the table between the two marks in a Markdown file."""
    parser = Parser(prog="pyrovae parts", description="Lists all parts.")
    parser.add_text("--write", "Markdown file whose table to replace")
    options = parser.parse_args(arguments)
    if options.write is None:
        print(help_text(), end="")
        return
    write_between(Path(options.write), MARKS, markdown())
