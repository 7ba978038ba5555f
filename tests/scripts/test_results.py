"""The published results: the table is made from `results.csv`, and its commands can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import benchmark
import list_results
import pytest

from pyrovae import InputError
from pyrovae.commands import evaluate
from pyrovae.config.options import parse_run, train_parser
from tests.support.commands import SCRIPTS

ROWS = list_results.results()
COMMANDS = sorted({part for row in ROWS for part in row["command"].split(" && ")})


def parse(command: str) -> None:
    """Parses a command line as its program does, without running it."""
    words = shlex.split(command)
    if "--init_from" in words:  # A command before this one makes the run.
        place = words.index("--init_from")
        del words[place : place + 2]
    if words[:2] == ["pyrovae", "train"]:
        parse_run(train_parser(), words[2:], "default")
    elif words[:3] == ["pyrovae", "fit-prior", "RUN"]:
        parse_run(train_parser(), words[3:], "default")  # Its options are those of `train`.
    elif words[:2] == ["pyrovae", "evaluate"]:
        evaluate.parser().parse_args(words[2:])
    else:
        assert words[:2] == ["python", "scripts/benchmark.py"], command
        benchmark.parser().parse_args(words[2:])


def test_the_table_is_that_of_the_csv() -> None:
    text = (SCRIPTS / "README.md").read_text()
    begin, end = list_results.MARKS
    between = text.split(begin)[1].split(end)[0]
    stale = "run: python scripts/list_results.py --write scripts/README.md"
    assert between.strip() == list_results.markdown().strip(), stale


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    parse(command)


@pytest.mark.parametrize(
    "command",
    [
        "pyrovae train --config mnist_of_nobody",
        "pyrovae train --config mnist_conv --encoder.chanels '[8]'",
        "pyrovae train --config mnist_iwae --objective IWEA",
        "pyrovae evaluate RUN --evidence_image 5",
        "pyrovae fit-prior RUN --prior FlowPriors",
        "python scripts/benchmark.py --device cuda --roundz 2",
    ],
)
def test_a_command_that_does_not_parse_is_found(command: str) -> None:
    with pytest.raises((InputError, SystemExit)):
        parse(command)


def test_every_row_is_complete() -> None:
    for row in ROWS:
        assert row["what"] and row["command"] and row["units"], row
        assert bool(row["published"]) == bool(row["source"]), row
        assert bool(row["ours"]) == bool(row["hardware"]), row
        assert not row["error"] or row["ours"], row
        assert not any("|" in cell for cell in row.values()), row


def test_a_row_without_a_figure_of_ours_says_not_run() -> None:
    table = list_results.markdown().splitlines()[2:]
    assert [" | not run | " in line for line in table] == [not row["ours"] for row in ROWS]


def test_the_figures_of_the_first_page_are_those_of_the_csv() -> None:
    readme = (SCRIPTS.parent / "README.md").read_text()
    quoted = re.findall(r"log p\(x\) (-\d+\.\d+) ± (\d+\.\d+)", readme)
    assert set(quoted) <= {(row["ours"], row["error"]) for row in ROWS}
    faces = re.findall(r"(\d\.\d+) bits/dim at most", readme)
    assert faces and set(faces) <= {row["ours"] for row in ROWS}


def test_the_command_replaces_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin, end = list_results.MARKS
    page = tmp_path / "page.md"
    page.write_text(f"before\n{begin}STALE\n{end}after\n")
    list_results.main(["--write", str(page)])
    assert page.read_text() == f"before\n{begin}\n{list_results.markdown()}\n{end}after\n"
    list_results.main([])
    assert capsys.readouterr().out == list_results.markdown()
    page.write_text("no marks\n")
    with pytest.raises(InputError, match="needs the lines"):
        list_results.main(["--write", str(page)])
