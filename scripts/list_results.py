"""Lists published results and ours: `python scripts/list_results.py`, from `results.csv`.

`--write FILE` writes the table into a Markdown file, between two marks.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from pyrovae.commands.running import run_command
from pyrovae.utils.files import write_between

MARKS = ("<!-- results: made by scripts/list_results.py -->\n", "<!-- end of results -->\n")
RESULTS = Path(__file__).parent / "results.csv"


def results() -> list[dict[str, str]]:
    """The rows of `results.csv`."""
    with open(RESULTS, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown() -> str:
    """The results as a Markdown table."""
    heads = ("what", "ours", "published", "hardware, time, seeds", "command", "notes")
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in results())]) + "\n"


def _cells(row: dict[str, str]) -> list[str]:
    error = f" ± {row['error']}" if row["error"] else ""
    ours = f"{row['ours']}{error} ({row['units']})" if row["ours"] else "not run"
    source = re.sub(r"^(.*) (https://\S+)$", r"[\1](\2)", row["source"])
    epochs = f", {row['published_epochs']} epochs" if row["published_epochs"] else ""
    published = f"{row['published']} ({source}{epochs})" if row["published"] else ""
    seeds = f"seed: {row['seeds']}" if row["seeds"] else ""
    circumstances = ", ".join(filter(None, (row["hardware"], row["time"], seeds)))
    return [row["what"], ours, published, circumstances, f"`{row['command']}`", row["note"]]


def main(arguments: list[str]) -> None:
    """Prints the table, or writes it between the two marks in a Markdown file."""
    parser = argparse.ArgumentParser(prog="list_results.py", description=__doc__)
    parser.add_argument("--write", metavar="FILE", help="Markdown file whose table to replace")
    options = parser.parse_args(arguments)
    if options.write is None:
        print(markdown(), end="")
    else:
        write_between(Path(options.write), MARKS, markdown())


if __name__ == "__main__":
    run_command(main, sys.argv[1:])
