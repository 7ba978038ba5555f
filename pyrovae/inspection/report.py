"""The report on a guide's posterior: makes sections one by one, and writes each when done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten

from pyrovae.inspection.gathering import gather
from pyrovae.inspection.html import ROWS, render
from pyrovae.inspection.judge import Evidence, Judgement
from pyrovae.inspection.judging import judge
from pyrovae.inspection.overview import overview
from pyrovae.inspection.section import Drawing, Inapplicable, Section
from pyrovae.inspection.sections import SECTIONS
from pyrovae.inspection.subject import Subject, check_name
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing
from pyrovae.utils.grids import showing
from pyrovae.utils.pyro_state import own_store

__all__ = ["Report", "add_verdict", "assess", "inspect"]


@dataclass(repr=False)
class Report:
    """The result of an inspection.

    Attributes:
        folder: holds the page, the tables and the figures.
        asked: the requested sections; empty for all.
        sections: by name.
        failed: the reasons why other sections could not be made, by name.
        inapplicable: the reasons why the questions of other sections do not arise, by name.
        whole: whether the inspection was completed.
        judgement: the verdict from all evidence; None until the sections are made.
        evidence: the measurements that the verdict follows from.
        pictures: samples, reconstructions and the curve of training, by name.
        run: the run directory; empty for programs from Python.
    """

    folder: Path
    asked: tuple[str, ...] = ()
    sections: dict[str, Section] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    inapplicable: dict[str, str] = field(default_factory=dict)
    whole: bool = False
    judgement: Judgement | None = None
    evidence: Evidence = field(default_factory=Evidence)
    pictures: dict[str, Drawing] = field(default_factory=dict)
    run: str = ""

    @property
    def verdict(self) -> str:
        """The verdict and what may be improved, for a terminal; empty without a verdict."""
        return "" if self.judgement is None else self.judgement.line

    def __repr__(self) -> str:
        """The page and the verdict."""
        verdict = "" if self.judgement is None else f"; {self.judgement}"
        return f"<Report {self.html}{verdict}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the pictures, and one sentence per section."""
        return render("notebook.html.j2", page=self.html, **vars(self))

    @property
    def html(self) -> Path:
        """The path of the page; a partial or interrupted report has another name."""
        return self._page("" if self.whole else "unfinished")

    def _page(self, state: str) -> Path:
        return self.folder / f"{'_'.join(filter(None, ['report', *self.asked, state]))}.html"

    def add(self, name: str, section: Section) -> None:
        """Adds a section, and writes its tables and figures."""
        self.sections[name] = section
        contents = {f"{n}.csv": own.to_csv(index=False) for n, own in section.tables.items()}
        files = {key: text.encode() for key, text in {**contents, **section.texts}.items()}
        files |= {f"{n}.png": drawing.captioned for n, drawing in section.figures.items()}
        for key, content in files.items():
            with replacing(self.folder / f"{name}_{key}") as temporary:
                temporary.write_bytes(content)

    def write(self, title: str, about: list[str]) -> Path:
        """Writes the page, with the verdict on top; returns its path."""
        text = render("report.html.j2", title=title, about=about, rows=ROWS, **vars(self))
        with replacing(self.html) as temporary:
            temporary.write_text(text, encoding="utf-8")
        if self.whole:
            self._page("unfinished").unlink(missing_ok=True)
        return self.html


def assess(subject: Subject, folder: str | Path) -> Report:
    """The verdict on a subject, from the evidence that needs no section; writes nothing.

    Args:
        subject: the programs and images.
        folder: of the report.
    """
    report = Report(Path(folder), run=subject.run)
    add_verdict(report, subject)
    return report


def inspect(
    subject: Subject,
    folder: str | Path,
    sections: Sequence[str] = (),
    *,
    title: str = "The guide's posterior",
    notes: Sequence[str] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Report:
    """Makes the sections of a report, and writes them as CSV, PNG and one HTML page.

    A complete report begins with the verdict; a report of selected sections has none. A section
    that fails does not stop the others. If the inspection is interrupted, the finished sections
    are written to a separate page, `report_unfinished.html`.

    Args:
        subject: the programs and images to inspect.
        folder: of the report.
        sections: names of `SECTIONS`; all of them by default.
        title: of the page.
        notes: further lines at the top of the page, such as unknown names that were left out.
        log: is called with one line per finished section.

    Returns:
        The report.

    Raises:
        InputError: if a section is unknown.
        TypeError: if `sections` is a string.
    """
    if isinstance(sections, str):
        raise TypeError(f"sections must be a list of names, got {sections!r}")
    for name in sections:
        check_name("section", name, SECTIONS)
    data = subject.programs.data
    report = Report(Path(folder), tuple(sections), run=subject.run)
    names = [known for known in SECTIONS if not sections or known in sections]
    lines = [*_about(subject), *notes]
    try:
        with showing(() if data is None else data.show):
            for name in names:
                log(f"{name}: {_made(report, name, subject)}")
            if not sections:  # The evidence takes longer than most single sections.
                add_verdict(report, subject)
                log(f"verdict: {report.verdict}")
    except BaseException:  # Also an interruption must not lose finished sections.
        done = len({*report.sections, *report.failed, *report.inapplicable})
        report.write(
            title, [f"Unfinished: stopped after {done} of {len(names)} sections.", *lines]
        )
        log(f"unfinished report: {report.html}")
        raise
    report.whole = True
    report.write(title, lines)
    return report


def _made(report: Report, name: str, subject: Subject) -> str:
    """Makes a section; returns its first sentence."""
    try:
        with own_store(subject.programs), subject.engine.arithmetic():
            section = SECTIONS[name](subject)
    except Inapplicable as reason:
        report.inapplicable[name] = str(reason)
        return f"does not apply: {reason}"
    except Exception as error:  # A user's part or program may raise anything.
        report.failed[name] = _reason(error)
        return f"not made, {report.failed[name]}"
    # Named indices become columns.
    named = {n: any(table.index.names) for n, table in section.tables.items()}
    tables = {n: own.reset_index() if named[n] else own for n, own in section.tables.items()}
    report.add(name, replace(section, tables=tables))
    return section.says[0]


def add_verdict(report: Report, subject: Subject) -> None:
    """Adds the verdict from the evidence and the symptoms of the sections, and the pictures.

    Args:
        report: with its sections; `inspect` does this for whole reports.
        subject: the programs and images.
    """
    symptoms = {key: v for own in report.sections.values() for key, v in own.symptoms.items()}
    with own_store(subject.programs), subject.engine.arithmetic():
        report.evidence = gather(subject).with_symptoms(symptoms)
        report.judgement = judge(report.evidence)
        report.failed |= {f"measurement of {n}": why for n, why in report.evidence.failed.items()}
        try:
            report.pictures = overview(subject)
        except Exception as error:  # As in sections.
            report.failed["pictures"] = _reason(error)


def _reason(error: Exception) -> str:
    """The reason why a section could not be made, in one line."""
    if isinstance(error, InputError):
        return str(error)
    if not isinstance(error, NotImplementedError):
        reason = shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")
        return f"{reason} (your own programs must allow several draws at once, see ModelGuidePair)"
    return (
        "it needs densities, but a latent site of the programs has none (log_prob or another "
        f"method is not implemented: {' '.join(str(error).split()) or type(error).__name__})"
    )


def _about(subject: Subject) -> list[str]:
    train = f"; {len(subject.train):,} training images" if subject.train is not None else ""
    return [
        f"{subject.where()}{train}; {len(subject.shown)} images shown one by one; seed "
        f"{subject.seed}. Nats are per image unless stated."
    ]
