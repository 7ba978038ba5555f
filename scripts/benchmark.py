"""Compares the speed of training with other training loops: `python scripts/benchmark.py`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C exits without a traceback.
    from pyrovae.commands.app import exit_on_interrupts

    exit_on_interrupts()

from pathlib import Path
from typing import Literal

import torch
from benchmarking import suite
from benchmarking.cases import CASES
from benchmarking.chart import draw
from benchmarking.figures import Figures, header
from benchmarking.loops import LOOPS
from jsonargparse import Namespace

from pyrovae import Engine, InputError
from pyrovae.commands.running import run_command
from pyrovae.config.parsing import Parser

#: Variants that add little information and need a compilation each.
LEFT_OUT_IF_QUICK = ("hand_networks", "hand_whole_fp32")
ROUNDS, QUICK_ROUNDS = 40, 5


def parser() -> Parser:
    """The command line."""
    parser = Parser(prog="benchmark.py", description=__doc__)
    sections, cases, loops = ", ".join(suite.SECTIONS), ", ".join(CASES), ", ".join(LOOPS)
    parser.add_argument(
        "--sections", nargs="+", type=str, help=f"any of {sections} (default: all)"
    )
    parser.add_argument("--cases", nargs="+", type=str, help=f"any of {cases} (default: all)")
    parser.add_argument("--loops", nargs="+", type=str, help=f"any of {loops} (default: all)")
    parser.add_argument("--quick", action="store_true", help="sections steps and input, 2 minutes")
    parser.add_argument(
        "--rounds", type=int, default=0, help=f"rounds (0: {ROUNDS}, or {QUICK_ROUNDS} if quick)"
    )
    parser.add_argument(
        "--batch_size", type=int, default=0, help="images per step (0: the size of each case)"
    )
    parser.add_argument(
        "--compile", type=Literal["on", "off"], default="on", help="whether to run compiled loops"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda ...")
    parser.add_argument(
        "--out", type=str | None, help="folder for benchmark.csv and benchmark.png"
    )
    return parser


def chosen(option: str, names: list[str] | None, allowed: list[str]) -> tuple[str, ...]:
    """The names that an option gives, or all allowed names."""
    for name in names or ():
        if name not in allowed:
            raise InputError(f"--{option}: allowed are {', '.join(allowed)}, got {name}")
    return tuple(name for name in allowed if name in (names or allowed))


def plan(options: Namespace) -> suite.Plan:
    """The plan that the options describe."""
    for name in ("rounds", "batch_size"):
        if options[name] < 0:
            raise InputError(f"--{name}: must be at least 0, got {options[name]}")
    engine = Engine(options.device)
    if engine.device.type not in ("cpu", "cuda"):
        raise InputError(f"--device: allowed are cpu and cuda, got {engine.device.type}")
    usual = [name for name in LOOPS if not (options.quick and name in LEFT_OUT_IF_QUICK)]
    return suite.Plan(
        engine,
        chosen("cases", options.cases, list(CASES)),
        chosen("loops", options.loops or usual, list(LOOPS)),
        options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS),
        options.batch_size or None,
        options.compile == "on",
        options.quick,
    )


def main(arguments: list[str]) -> None:
    """Measures, prints the tables, and writes the files of `--out`."""
    options = parser().parse_args(arguments)
    usual = ["steps", "input"] if options.quick else None
    sections = chosen("sections", options.sections or usual, list(suite.SECTIONS))
    wanted = plan(options)
    title = header(wanted.engine.device, wanted.engine.precision)
    out = Path(options.out) if options.out else None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    print(title, flush=True)
    figures = Figures()
    try:
        suite.run(wanted, sections, figures)
    finally:  # Keeps the measurements from before an error or Ctrl-C.
        if out is not None:
            write(figures, title, out, wanted.engine.device)


def write(figures: Figures, title: str, out: Path, device: torch.device) -> None:
    """Writes `benchmark.csv`, and `benchmark.png` if the section steps was measured."""
    figures.write(out / "benchmark.csv")
    drawn = draw(figures, title, out / "benchmark.png", device)
    print(f"\n{out / 'benchmark.csv'}" + f", {out / 'benchmark.png'}" * drawn)


if __name__ == "__main__":
    run_command(main)
