"""Reports of several runs side by side on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pyrovae.evaluation.alignment import trained_apart
from pyrovae.inspection.html import measurements, number, render
from pyrovae.inspection.judge.finding import Judgement
from pyrovae.inspection.report import Report
from pyrovae.inspection.subject import Subject
from pyrovae.runs import RunDirectory
from pyrovae.utils.files import replacing
from pyrovae.utils.lazy import pandas
from pyrovae.utils.plain import differing

__all__ = ["compare_reports", "differences"]

#: What the names of measurements that have no differences begin with.
ERROR = "standard error"


def compare_reports(
    reports: Mapping[str, Report], folder: str | Path, notes: Sequence[str] = ()
) -> Path:
    """Writes `compare.html`: verdicts, findings, pictures, measurements and settings of runs.

    Args:
        reports: with verdicts, by the names of their runs; the others are compared with the
            first.
        folder: of the page.
        notes: lines at the top of the page, such as those of `differences`.

    Returns:
        The path of the page.
    """
    first, *others = reports
    text = render(
        "compare.html.j2",
        title=f"{first} compared with {', '.join(others)}",
        notes=notes,
        reports=reports,
        findings=_findings({name: own.judgement for name, own in reports.items()}),
        measured=_measured(reports),
        changed=_changed(reports),
    )
    path = Path(folder) / "compare.html"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def differences(subjects: Mapping[str, Subject]) -> list[str]:
    """Sentences on differences that make the numbers of runs hard to compare; empty without any.

    Args:
        subjects: by the names of their runs; the others are compared with the first.
    """
    first, *others = subjects
    found = [f"{line}." for line in _of_training(subjects)]
    for other in others:
        own, base = subjects[other], subjects[first]
        if not np.array_equal(own.split.images, base.split.images):
            found.append(
                f"{other} has different images from {first} in the split {base.name} "
                f"({_images(own)}, not {_images(base)}): compare their nats with care."
            )
        if own.programs.likelihood.grey_levels != base.programs.likelihood.grey_levels:
            found.append(
                f"{other} has a likelihood on another scale than {first} "
                f"({_likelihood(own)}, not {_likelihood(base)}): their ELBOs are not comparable."
            )
    return found


def _of_training(subjects: Mapping[str, Subject]) -> Iterator[str]:
    """Runs that are not at their end, or that were trained on other images."""
    paths = {name: Path(own.run) for name, own in subjects.items() if own.run}
    for name, path in paths.items():
        if done := RunDirectory(path).unfinished():
            yield f"{name} is trained for {done}"
    if paths:
        yield from trained_apart(paths)


def _images(subject: Subject) -> str:
    size = "x".join(map(str, subject.split.images.shape[1:]))
    data = subject.options.part("data")
    return f"{len(subject.split):,} images of {size}" + (f" of {data}" if data else "")


def _likelihood(subject: Subject) -> str:
    return type(subject.programs.likelihood).__name__


def _findings(judgements: Mapping[str, Judgement | None]) -> pandas.DataFrame:
    """A row per cause that was found in any run, with its cost in each."""
    rows: dict[str, dict[str, str]] = {}
    for name, judgement in judgements.items():
        for own in judgement.findings if judgement else ():
            words = own.nats if own.fault else f"{own.nats}, a possible improvement"
            row = {"finding": own.title, **dict.fromkeys(judgements, "not found")}
            rows.setdefault(own.cause, row)[name] = words
    return pandas.DataFrame(list(rows.values()), columns=["finding", *judgements])


def _measured(reports: Mapping[str, Report]) -> pandas.DataFrame:
    """A row per measurement: its value in each run, the differences, its meaning."""
    tables = {name: measurements(own.evidence) for name, own in reports.items()}
    known = pandas.concat(tables.values()).drop_duplicates("measurement")
    known = known.set_index("measurement")
    values = {name: own.set_index("measurement")["value"] for name, own in tables.items()}
    table = pandas.DataFrame({name: own.reindex(known.index) for name, own in values.items()})
    first, *others = tables
    for other in others:
        title = "difference" if len(others) == 1 else f"{other} minus {first}"
        rows = zip(table.index, table[first], table[other], strict=True)
        table[title] = ["" if own.startswith(ERROR) else _difference(*two) for own, *two in rows]
    return table.assign(meaning=known["meaning"]).reset_index()


def _difference(first: float, other: float) -> str:
    """How much larger the other value is.

    Example:
        >>> _difference(200.0, 150.0), _difference(1.0, 1.0), _difference(-100.0, -99.9)
        ('-50', 'the same', '+0.1')
    """
    change = other - first
    if change != change:
        return "not known for both"
    return number(change, "+") if change else "the same"


def _changed(reports: Mapping[str, Report]) -> pandas.DataFrame:
    """A row per option that differs between the runs."""
    options = {name: own.evidence.options.values for name, own in reports.items()}
    rows = [[f"--{option}", *own.values()] for option, own in differing(options).items()]
    return pandas.DataFrame(rows, columns=["option", *reports])
