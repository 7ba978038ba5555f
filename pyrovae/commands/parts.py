"""`pyrovae parts`: lists all parts; `--write FILE` writes their table into a Markdown file."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyrovae.config.catalogue import help_text, markdown
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing

BEGIN, END = "<!-- parts: made by scripts/list_parts.py -->\n", "<!-- end of parts -->\n"


def main(arguments: list[str]) -> None:
    """Prints the list, or writes the table between the two marks in a Markdown file."""
    parser = argparse.ArgumentParser(prog="pyrovae parts", description="Lists all parts.")
    parser.add_argument("--write", metavar="FILE", help="Markdown file whose table to replace")
    options = parser.parse_args(arguments)
    if options.write is None:
        print(help_text(), end="")
        return
    path = Path(options.write)
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise InputError(f"{path}: needs the lines {BEGIN.strip()} and {END.strip()}, once each")
    before, rest = text.split(BEGIN)
    with replacing(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{markdown()}\n{END}{rest.split(END)[1]}")
