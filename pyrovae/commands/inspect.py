"""`pyrovae inspect RUN`: writes a report on the posterior of a run, or compares several runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from pyro.infer import ELBO

from pyrovae.config.building import check_images, load_run
from pyrovae.config.options import add_opening, opening, run_parser
from pyrovae.config.parsing import Parser
from pyrovae.config.resuming import read_config
from pyrovae.config.second_data import OPTION, divided_options, read_all, second_data
from pyrovae.config.trust import Consent
from pyrovae.data import SPLITS, ImageData, Split
from pyrovae.data.finding import with_folders
from pyrovae.data.layout import shown_channels
from pyrovae.engine import Engine
from pyrovae.inspection import (
    QUICK,
    SECTIONS,
    Report,
    add_verdict,
    assess,
    compare_reports,
    differences,
    inspect,
)
from pyrovae.inspection.export import (
    check_export,
    latent_table,
    to_inference_data,
    write_inference_data,
    write_table,
)
from pyrovae.inspection.judge.advice import Options
from pyrovae.inspection.subject import FULL, Budget, Subject, check_name
from pyrovae.objectives import Objective, as_objective
from pyrovae.programs import ModelGuidePair
from pyrovae.runs import RunDirectory, distinct_runs
from pyrovae.training.overview import refresh_index
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.text import short_names

__all__ = ["budget_of", "open_subject", "read_image", "report_folder", "report_on"]


def read_image(name: str, vae: ModelGuidePair, data: ImageData) -> torch.Tensor:
    """Reads an image: a file, or an image of a split such as `test:12`; uint8 `(C, H, W)`.

    Args:
        name: a path, or a split and the index of the image in it.
        vae: prepares an image from a file.
        data: the data set with the splits.

    Raises:
        InputError: if the image cannot be read or does not exist.
    """
    if (found := data.named(name)) is not None:
        return torch.from_numpy(found.images[0].copy())
    if not Path(name).exists():
        known = ", ".join(SPLITS)
        raise InputError(f"{name}: no such file (test:12 is an image of a split; of {known})")
    return vae.preprocess(name)


def open_subject(
    run: str | Path,
    *,
    split: str = "test",
    images: Sequence[str] = (),
    budget: Budget = FULL,
    checkpoint: str = "best",
    device: str = "auto",
    trust: bool = False,
    places: Mapping[str, str | Path | None] | None = None,
    data: Any = None,
    **fields: object,
) -> tuple[Subject, list[str]]:
    """Loads a run for inspection.

    Args:
        run: the run directory.
        split: the split to encode.
        images: files, folders, or images of a split such as `test:12`, that are shown one by one;
            by default some of the split.
        budget: numbers of images, draws and steps.
        checkpoint: "best" or "last".
        device: the device that computes; with "auto", sections whose work is sequential may use
            the CPU although there is a GPU, see `placed`.
        trust: whether the run may name any class. The code of these classes then runs.
        places: where the images are now, such as `{"root": "new/place"}`.
        data: the images, in place of those that the run names.
        **fields: further fields of `Subject`.

    Returns:
        The subject, and one message per image that could not be read.

    Raises:
        InputError: if the run or the checkpoint is missing, the split is empty, or no named
            image can be read.
    """
    engine = Engine(device, "fp32")
    vae, data = load_run(run, checkpoint, engine.device, trust, places, data)
    whole = data.split(split)
    if not len(whole):
        raise InputError(f"the split {split} has no images")
    check_images(directory := RunDirectory(run), data)
    some = whole.spread(budget.images)
    names = with_folders(images)
    given, complaints = read_all(names, lambda name: read_image(name, vae, data).numpy(), data)
    if complaints and not len(given):
        raise InputError("; ".join(complaints))
    subject = Subject(
        vae,
        some,
        engine,
        shown=given if len(given) else some.spread(budget.shown),
        given=len(given) > 0,
        budget=budget,
        movable=device == "auto" and engine.device.type == "cuda",
        run=str(run),
        **_of_data(data, split),
        **_of_training(directory, trust),
    )
    return replace(subject, **fields), complaints  # type: ignore[arg-type]


def _of_data(data: ImageData, split: str) -> dict[str, Any]:
    """The fields of a subject that follow from its data set."""
    return {
        "name": split,
        "train": data.split("train"),
        "held_out": _held_out(data, split),
        "factors": tuple(data.factors),
        "flip": data.flip,
    }


def _of_training(run: RunDirectory, trust: bool) -> dict[str, Any]:
    """The fields of a subject that say how its run was trained."""
    objective = _objective(run, trust)
    return {
        "wide": objective.prefers_wide_guide,
        "maximises_elbo": objective.maximises_elbo,
        "options": Options(run.options()),
        "history": _history(run),
    }


def _held_out(data: ImageData, split: str) -> Split | None:
    """Images that are neither of the training split nor of the given one; None without any."""
    try:
        return data.split("test" if split == "val" else "val")
    except InputError:
        return None


def _history(run: RunDirectory) -> pandas.DataFrame | None:
    """The rows of `metrics.csv`; None without any, or if it cannot be read."""
    try:
        found = pandas.read_csv(run.metrics)
    except (OSError, ValueError):
        return None
    return found if len(found) else None


def _objective(run: RunDirectory, trust: bool) -> Objective:
    """The run's objective; a plain one if it cannot be built again."""
    parser = Parser(exit_on_error=False)
    parser.add_subclass_arguments(ELBO, "objective")
    consent = Consent(trust)
    try:
        stated = read_config(run, consent)["objective"]
        config = parser.parse_object({"objective": stated})
        consent.check_parsed(config.as_dict(), [])
        return as_objective(parser.instantiate(config).objective)
    except Exception:  # A class of the user may have changed or be missing.
        return Objective()


def parser() -> Parser:
    """The command line of `pyrovae inspect`."""
    parser = run_parser(
        "inspect", "Writes a report on the posterior of a run, or compares several runs."
    )
    parser.add_texts(
        "--compare",
        "other runs: writes compare.html, which shows verdicts, measurements and samples "
        "of all runs side by side; with --sections, these sections are also made for each run",
    )
    parser.add_argument("--split", type=str, default="test", help="train, val or test")
    parser.add_texts(
        "--images",
        "images to show one by one: files, folders, or images of a split such as test:12",
    )
    parser.add_texts("--sections", f"any of {', '.join(SECTIONS)} (default: all)")
    parser.add_texts("--sites", "latent sites (default: all)")
    parser.add_texts("--attributes", "attributes of the data (default: all)")
    parser.add_text(
        "--against",
        "second data set for anomaly scores: folder of images, run, array or class of --data "
        "(its arguments: --against.root DIR ...)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer images, draws and steps")
    parser.add_argument("--num_images", type=int, help="number of images of the split (0: all)")
    parser.add_text("--out", "folder for the report (default: in RUN)")
    parser.add_text("--latents", "also write the encoded latents: .csv or .parquet file")
    parser.add_text("--inference_data", "also write posterior draws for ArviZ: .nc file")
    add_opening(parser)
    return parser


def budget_of(quick: bool, num_images: int | None) -> Budget:
    """The numbers of images, draws and steps."""
    budget = QUICK if quick else FULL
    return budget if num_images is None else replace(budget, images=num_images)


def export(subject: Subject, options: Namespace) -> None:
    """Writes the tables of `--latents` and `--inference_data`."""
    if options.latents:
        write_table(latent_table(subject), options.latents)
        print(options.latents)
    if options.inference_data:
        write_inference_data(to_inference_data(subject), options.inference_data)
        print(options.inference_data)


def known(what: str, given: Sequence[str], allowed: Iterable[str]) -> tuple[list[str], list[str]]:
    """Splits names into those that are allowed and one message per other name."""
    found, complaints = [], []
    for name in given:
        try:
            check_name(what, name, allowed)
            found.append(name)
        except InputError as error:
            complaints.append(str(error))
    return found, complaints


def opened(options: Namespace) -> tuple[Subject, list[str]]:
    """The subject to inspect, and messages about unreadable images and unknown names."""
    subject, complaints = open_subject(
        options.run,
        split=options.split,
        images=options.images or (),
        budget=budget_of(options.quick, options.num_images),
        device=options.device,
        seed=options.seed,
        progress=True,
        **opening(options),
    )
    sites, wrong = known("site", options.sites or (), subject.space.shapes)
    names = subject.split.attribute_names
    attributes, misspelt = known("attribute", options.attributes or (), names)
    subject = replace(subject, sites=tuple(sites), attributes=tuple(attributes))
    if options.against:
        subject, unread = compared(subject, options)
        complaints += unread
    return subject, [*complaints, *wrong, *misspelt]


def compared(subject: Subject, options: Namespace) -> tuple[Subject, list[str]]:
    """The subject with the images of `--against`, and messages about unreadable ones."""
    data = subject.programs.data
    assert data is not None, "programs of a run have a data set"
    given, inner = options.against, options.against_options
    images, unread = second_data(given, inner, data, trust=options.trust)
    name = Path(given).name or given
    return replace(subject, against=images, against_name=name), unread


def report_folder(run: str | Path, checkpoint: str, split: str) -> Path:
    """The folder of the report: another checkpoint or split has its own folder."""
    others = [own for own, usual in ((checkpoint, "best"), (split, "test")) if own != usual]
    return Path(run) / "_".join(["posterior", *others])


def folder(options: Namespace) -> Path:
    """The folder of the report: that of `--out`, or one in the run."""
    return Path(options.out or report_folder(options.run, options.checkpoint, options.split))


def notes_on(checkpoint: str, subject: Subject) -> list[str]:
    """Notes for the report: which weights it describes, and which channels pictures show."""
    data = subject.programs.data
    assert data is not None, "programs of a run have a data set"
    weights = f"Weights: {RunDirectory(subject.run).about_weights(checkpoint)}."
    return [weights, *shown_channels(data.image_shape[0], data.show)]


def compare(options: Namespace, sections: Sequence[str]) -> tuple[Subject, list[str]]:
    """Writes `compare.html`; returns the first run's subject, and what was left out of any run."""
    runs = [str(run) for run in distinct_runs([options.run, *options.compare])]
    names, reports, complaints = short_names(runs), {}, []
    print(_seen(sections), flush=True)
    given = [_of_run(options, run, name) for run, name in zip(runs, names, strict=True)]
    found = {name: opened(own) for name, own in zip(names, given, strict=True)}
    for own, (name, (subject, left_out)) in zip(given, found.items(), strict=True):
        complaints += [f"{name}: {line}" for line in left_out]
        if sections:
            reports[name] = _printed_report(subject, own, sections, left_out)
            add_verdict(reports[name], subject)
        else:
            reports[name] = assess(subject, folder(own))
        print(f"{name}: {reports[name].verdict}", flush=True)
        complaints += [f"{name}: {key}: {why}" for key, why in reports[name].failed.items()]
    subjects = {name: subject for name, (subject, _) in found.items()}
    first = subjects[names[0]]
    notes = [f"{first.where()}; seed {options.seed}; the {options.checkpoint} checkpoint of each."]
    notes += [_seen(sections), *differences(subjects), *(f"Left out: {x}" for x in complaints)]
    print(f"\n{compare_reports(reports, folder(options), notes)}")
    return first, complaints


def _seen(sections: Sequence[str]) -> str:
    """A note: whose measurements the verdicts of a comparison follow from."""
    if sections:
        return f"The verdicts use the measurements of the sections {', '.join(sections)}."
    return (
        "The verdicts use no section, such as gaps: --sections adds the measurements of sections, "
        "which can change a verdict."
    )


def _of_run(options: Namespace, run: str, name: str) -> Namespace:
    """The same options for another run; its report has its own folder."""
    own = options.clone()
    own.run = run
    if options.out and run != options.run:
        own.out = str(Path(options.out) / name)
    return own


def report_on(
    subject: Subject,
    checkpoint: str,
    folder: str | Path,
    sections: Sequence[str],
    complaints: Sequence[str],
    log: Callable[[str], None] = lambda line: None,
) -> Report:
    """Makes and writes the report of one run."""
    notes = [*notes_on(checkpoint, subject), *(f"Left out: {line}" for line in complaints)]
    title = f"The posterior of {Path(subject.run).name}"
    return inspect(subject, folder, sections, title=title, notes=notes, log=log)


def _printed_report(
    subject: Subject, options: Namespace, sections: Sequence[str], complaints: Sequence[str]
) -> Report:
    """Makes and writes the report of one run; prints progress."""
    own = (subject, options.checkpoint, folder(options), sections, complaints)
    return report_on(*own, log=partial(print, flush=True))


def _not_made(report: Report, sections: Sequence[str]) -> list[str]:
    """Why sections that the user names are not in a report."""
    reasons = report.failed | {
        name: f"does not apply: {reason}" for name, reason in report.inapplicable.items()
    }
    return [f"{name}: {reasons[name]}" for name in sections if name in reasons]


def main(arguments: list[str]) -> None:
    """Inspects a run, or compares several; prints progress and writes the pages."""
    arguments, inner = divided_options(arguments)
    options = parser().parse_args(arguments)
    if inner and not options.against:
        raise InputError(f"{inner[0].replace('--data', OPTION)}: needs {OPTION}")
    options.against_options = inner
    sections, complaints = known("section", options.sections or (), SECTIONS)
    if options.sections and not sections:
        raise InputError("; ".join(complaints))
    check_export(options.latents, options.inference_data)
    if options.compare:
        subject, more = compare(options, sections)
        complaints += more
    else:
        subject, more = opened(options)
        for line in (complaints := [*complaints, *more]):
            print(f"left out: {line}", flush=True)
        report = _printed_report(subject, options, sections, complaints)
        print(f"\n{report.html}")
        complaints += _not_made(report, sections)
    refresh_index(options.run)
    export(subject, options)
    if complaints:
        raise InputError("; ".join(complaints))
