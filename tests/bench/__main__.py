"""The bench of planted faults: `python -m tests.bench`; see `--help`."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from tests.bench.case import Case
from tests.bench.faults import FAULTS
from tests.bench.healthy import HEALTHY
from tests.bench.judging import Result, tried
from tests.bench.table import details, line, summary, write


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Trains runs with known faults and judges them."
    )
    parser.add_argument("--only", nargs="+", default=[], help="cases or causes (default: all)")
    parser.add_argument("--cache", type=Path, help="folder that keeps the runs")
    parser.add_argument("--healthy", action="store_true", help="runs without a fault only")
    parser.add_argument("--faults", action="store_true", help="runs with a fault only")
    parser.add_argument("--judge", action="store_true", help="do not follow advice")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--verbose", action="store_true", help="the evidence on wrong verdicts")
    parser.add_argument("--write", action="store_true", help="write the table to the README")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Case]:
    """The cases that the command line names and whose images are at hand."""
    every = [*([] if given.healthy else FAULTS), *([] if given.faults else HEALTHY)]
    found = [own for own in every if not given.only or {own.name, *own.right} & {*given.only}]
    return [own for own in found if own.available]


def attempt(case: Case, folder: Path, following: bool) -> tuple[Result | None, str]:
    """The result of a case and a line on it; None if the bench itself fails."""
    torch.set_num_threads(1)
    began = time.process_time()
    try:
        result = tried(case, folder, following=following)
    except (Exception, SystemExit) as error:  # The parser exits.
        return None, f"FAILED {case.name}: {type(error).__name__}: {error}"
    return result, f"{time.process_time() - began:5.1f} s {line(result)}"


def main() -> None:
    """Runs the bench."""
    given = options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.cache or Path(temporary)
        os.environ["PYROVAE_CACHE"] = str(folder / "prepared")
        one = partial(attempt, folder=folder, following=not given.judge)
        results: list[Result] = []
        with ProcessPoolExecutor(given.jobs) as pool:
            for result, said in pool.map(one, chosen(given)):
                print(said, flush=True)
                results += [] if result is None else [result]
    print(summary(results))
    if given.verbose:
        print(details(results))
    if given.write:
        write(summary(results))


if __name__ == "__main__":
    main()
