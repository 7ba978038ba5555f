"""Questions the posterior of a run: `python scripts/inspect_posterior.py RUN [--quick]`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pyrovae import InputError, RunDirectory, cli
from pyrovae.inspection import FULL, QUICK, SECTIONS, Subject, inspect, open_subject
from pyrovae.inspection.export import (
    check_export,
    latent_table,
    to_inference_data,
    write_inference_data,
    write_table,
)
from pyrovae.inspection.subject import check_name
from pyrovae.trust import add_trust


def parser() -> cli.Parser:
    """The options."""
    parser = cli.Parser(
        prog="inspect_posterior.py", description="Says what a guide's posterior knows."
    )
    parser.add_argument("run", type=str, help="the run directory")
    parser.add_argument("--split", type=str, default="test", help="train, val or test")
    parser.add_argument(
        "--images", nargs="+", type=str, help="to look at: files or, as test:12, of a split"
    )
    parser.add_argument("--sections", nargs="+", type=str, help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--sites", nargs="+", type=str, help="latent sites (default: all)")
    parser.add_argument("--attributes", nargs="+", type=str, help="of the data (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer images, draws and steps")
    parser.add_argument("--num_images", type=int, help="how many of the split (0: all)")
    parser.add_argument("--seed", type=int, default=0, help="decides all draws")
    parser.add_argument("--checkpoint", type=str, default="best", help="best or last")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, mps ...")
    parser.add_argument("--out", type=str | None, help="where to write (default: in RUN)")
    parser.add_argument("--latents", type=str | None, help="also writes them: a .csv or .parquet")
    parser.add_argument(
        "--inference_data", type=str | None, help="also writes draws for ArviZ: a .nc file"
    )
    add_trust(parser)
    return parser


def export(subject: Subject, options: cli.Namespace) -> None:
    """Writes what was asked for besides the report."""
    if options.latents:
        write_table(latent_table(subject), options.latents)
        print(options.latents)
    if options.inference_data:
        write_inference_data(to_inference_data(subject), options.inference_data)
        print(options.inference_data)


def known(what: str, given: Sequence[str], allowed: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that there are, and a line on each other one; what is right is still done."""
    found, complaints = [], []
    for name in given:
        try:
            check_name(what, name, allowed)
            found.append(name)
        except InputError as error:
            complaints.append(str(error))
    return found, complaints


def opened(options: cli.Namespace) -> tuple[Subject, list[str]]:
    """What is inspected, and lines on what of it could not be had."""
    effort = QUICK if options.quick else FULL
    if options.num_images is not None:
        effort = replace(effort, images=options.num_images)
    subject, complaints = open_subject(
        options.run,
        split=options.split,
        images=options.images or (),
        effort=effort,
        checkpoint=options.checkpoint,
        device=options.device,
        seed=options.seed,
        progress=True,
        trust=options.trust,
    )
    sites, wrong = known("site", options.sites or (), subject.space.shapes)
    names = subject.split.attribute_names
    attributes, misspelt = known("attribute", options.attributes or (), names)
    subject = replace(subject, sites=tuple(sites), attributes=tuple(attributes))
    return subject, [*complaints, *wrong, *misspelt]


def folder(options: cli.Namespace) -> Path:
    """Where the report goes: what is asked of other weights or images replaces nothing."""
    others = [
        given
        for given, usual in ((options.checkpoint, "best"), (options.split, "test"))
        if given != usual
    ]
    return Path(options.out or Path(options.run) / "_".join(["posterior", *others]))


def weights(options: cli.Namespace) -> str:
    """Which weights are looked at, in words."""
    _, epoch = RunDirectory(options.run).weights_of(options.checkpoint)
    return f"Weights: those of epoch {epoch}, the {options.checkpoint}."


def main(arguments: list[str]) -> None:
    """Questions, prints and writes."""
    options = parser().parse_args(arguments)
    sections, complaints = known("section", options.sections or (), SECTIONS)
    if options.sections and not sections:
        raise InputError("; ".join(complaints))
    check_export(options.latents, options.inference_data)
    subject, more = opened(options)
    for line in (complaints := [*complaints, *more]):
        print(f"left out: {line}", flush=True)
    report = inspect(
        subject,
        folder(options),
        sections,
        title=f"The posterior of {Path(options.run).name}",
        notes=[weights(options), *(f"Left out: {line}" for line in complaints)],
        said=lambda line: print(line, flush=True),
    )
    print(f"\n{report.html}")
    export(subject, options)
    complaints += [f"{name}: {report.failed[name]}" for name in sections if name in report.failed]
    if complaints:
        raise InputError("; ".join(complaints))


if __name__ == "__main__":
    cli.run_command(main)
