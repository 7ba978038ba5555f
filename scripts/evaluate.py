"""Scores a run: `python scripts/evaluate.py RUN [--compare RUN ...]`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from dataclasses import fields
from pathlib import Path

from pyrovae import InputError, cli
from pyrovae.evaluation import named_features
from pyrovae.evaluation.comparison import check_comparable, compare
from pyrovae.evaluation.report import open_run
from pyrovae.evaluation.scoring import SECTIONS, Options
from pyrovae.naming import find_own_parts
from pyrovae.trust import add_trust


def parser() -> cli.Parser:
    """The options."""
    parser = cli.Parser(prog="evaluate.py", description="Scores a trained VAE.")
    parser.add_argument("run", type=str, help="the run directory")
    parser.add_argument("--compare", nargs="+", type=str, help="other runs of the same data")
    parser.add_argument("--split", type=str, default="test", help="train, val or test")
    parser.add_argument("--num_samples", type=int, default=5000, help="draws for log p(x)")
    parser.add_argument("--num_images", type=int, default=0, help="how many (0: all)")
    parser.add_argument(
        "--evidence_images",
        type=int,
        default=0,
        help="how many of them have draws for log p(x), which is then the ELBO of all images "
        "plus its gap to log p(x) of those (0: all)",
    )
    parser.add_argument(
        "--features",
        type=str,
        default="RandomConvolutions",
        help="of samples: Pixels, RandomConvolutions, Inception, or a dotted path",
    )
    parser.add_argument("--sections", nargs="+", type=str, help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seed", type=int, default=0, help="decides all draws")
    parser.add_argument("--checkpoint", type=str, default="best", help="best or last")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, mps ...")
    parser.add_argument("--out", type=str | None, help="folder of a comparison (default: RUN)")
    add_trust(parser)
    return parser


def main(arguments: list[str]) -> None:
    """Scores, prints and writes."""
    given = parser().parse_args(arguments)
    options = Options(**{own.name: getattr(given, own.name) for own in fields(Options)})
    sections = given.sections or list(SECTIONS)
    for name in sections:
        if name not in SECTIONS:
            raise InputError(f"--sections: allowed are {', '.join(SECTIONS)}, got {name}")
    if given.out and not given.compare:
        raise InputError("--out: goes with --compare")
    if "." in given.features:
        find_own_parts()  # Who types a dotted path wants its code run.
    if "samples" in sections:
        named_features(options.features)  # What is misspelt is told before hours of work.
    paths = {Path(run).resolve(): run for run in reversed([given.run, *(given.compare or [])])}
    runs = [
        open_run(
            run,
            options,
            checkpoint=given.checkpoint,
            device=given.device,
            progress=True,
            trust=given.trust,
        )
        for run in reversed(paths.values())
    ]
    if given.compare:
        check_comparable(runs)
    reports = []
    for opened in runs:
        found = opened.score(sections)
        print(f"\n{found}\n{found.write()}\n", flush=True)
        reports.append(found)
    if given.compare:
        print(compare(reports, Path(given.out or given.run)))
    if failed := dict.fromkeys(reason for report in reports for reason in report.failed):
        raise InputError("; ".join(failed))


if __name__ == "__main__":
    cli.run_command(main)
