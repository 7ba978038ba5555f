"""Comparison of several runs: a table, a CSV file and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyrovae.evaluation.alignment import aligned, trained_apart
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.opened import Opened
from pyrovae.evaluation.pictures import draw_curves, draw_scores
from pyrovae.evaluation.run_scores import RunScores, notes
from pyrovae.evaluation.seeds import Sweep
from pyrovae.evaluation.tables import (
    BASELINES,
    COLUMNS,
    MORE,
    SCALED,
    TITLES,
    Columns,
    called,
    score_table,
)
from pyrovae.runs import RunDirectory
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing
from pyrovae.utils.lazy import pandas as pd
from pyrovae.utils.text import printable, short_names

__all__ = ["Comparison", "check_comparable", "compare"]

#: Settings that each row of the CSV file repeats.
SETTINGS = ("split", "num_samples", "evidence_images", "features", "checkpoint", "seed")

#: What the errors over seeds are of.
OVER_SEEDS = (
    "means over runs that differ in the seed of training alone, with their standard errors where "
    "seeds differ in the score; comparison.csv has each run"
)
#: What the errors of a comparison are of.
OF_IMAGES = (
    "± and bars are standard errors over the images; runs that differ in the seed of training "
    "alone may differ by more"
)


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; as text, the table with sentences on it and the paths of the files.

    Attributes:
        table: the scores that were asked for.
        said: what the errors are of, and how the runs differ.
        notes: on scores that need care.
        files: that were written.
    """

    table: str
    said: list[str]
    notes: list[str]
    files: list[Path]

    def __str__(self) -> str:
        """The text that `pyrovae evaluate` prints."""
        lines = [*self.said, *(f"note: {line}" for line in self.notes)]
        return "\n".join([self.table, *lines, printable(", ".join(map(str, self.files)))])


def compare(
    results: Sequence[RunScores], out: Path, asked: Sequence[RunScores] | None = None
) -> Comparison:
    """Compares results on the same images with the first of them.

    A difference of log p(x) or of the ELBO is the mean of the differences per image. Its
    standard error is that of paired differences, which is smaller than the errors of the two
    means. Densities are converted to probabilities of grey values, so that all are on one scale.
    If some runs differ in the seed of training alone, the text shows means over seeds, see
    `Sweep`.

    Args:
        results: one per run, see `check_comparable`. The others are compared with the first.
        out: the folder of `comparison.csv` and `comparison.png`, which show all scores, and of
            `comparison_seeds.csv`, the means over seeds. Their ELBO and log p(x) are those of
            grey values where `evaluation.json` has densities. `comparison_curves.png` has the
            validation ELBO over the epochs.
        asked: results of the same runs with the scores that the text shows; by default all.
    """
    names, asked = short_names([own.run for own in results]), asked or results
    scored = dict(zip(names, asked, strict=True))
    named, apart = aligned(dict(zip(names, results, strict=True)), scored)
    columns, greys = _columns(named), any(result.shift for result in results)
    given = [name for name, result in named.items() if result.given]
    sweep = Sweep({name: RunDirectory(own.run).flat_options() for name, own in named.items()})
    files = [out / f"comparison{own}" for own in (".csv", ".png", "_curves.png")]
    _write(columns, named, files[0], greys, sweep)
    draw_scores(columns, sweep.places, _seen(named[names[0]], given, greys), files[1])
    # Files of an earlier comparison in this folder would be of other runs.
    (out / "comparison_seeds.csv").unlink(missing_ok=True)
    if not draw_curves(named, sweep, files[2]):
        files.pop().unlink(missing_ok=True)
    shown, said = _shown(columns, names, asked), [OF_IMAGES]
    if sweep.has_seeds:
        files.insert(0, out / "comparison_seeds.csv")
        scores = {name: _without_pairs(shown.pop(name)) for name in named}
        said = _write_means(columns, sweep, files[0], scores)
        shown = {sweep.heading(model): own for model, own in sweep.means(scores).items()} | shown
        given = [sweep.heading(model) for model, runs in sweep.models.items() if runs[0] in given]
    apart += trained_apart({name: own.run for name, own in named.items()})
    noted = [*apart, *_notes(named, asked)]
    table = score_table(shown, greys=greys, given=given, first=called(names[0]))
    return Comparison(table, [*said, *sweep.said()], noted, files)


def _columns(named: Mapping[str, RunScores]) -> Columns:
    """The scores of runs and baselines, with the differences from the first run."""
    columns, first = {}, next(iter(named.values()))
    for name, result in named.items():
        more = {} if result is first else _difference(first, result)
        columns[name] = result.comparable("vae") | more
    for baseline in BASELINES:
        columns |= _baselines(baseline, named)
    return columns


def _notes(named: Mapping[str, RunScores], asked: Sequence[RunScores]) -> list[str]:
    """The notes on the scores that were asked for, each once, with the runs that have it."""
    found: dict[str, list[str]] = {}
    for (name, result), own in zip(named.items(), asked, strict=True):
        for line in notes(result.only(own)):
            found.setdefault(line, []).append(name)
    return [f"{line} ({', '.join(runs)})" for line, runs in found.items()]


def _without_pairs(scores: dict[str, Estimate]) -> dict[str, Estimate]:
    """Scores without the differences from the first run, which is of one seed."""
    return {name: own for name, own in scores.items() if name not in MORE.values()}


def _write_means(columns: Columns, sweep: Sweep, path: Path, shown: Columns) -> list[str]:
    """Writes the means over seeds of all scores; returns sentences on those that are shown."""
    table = sweep.table({name: _without_pairs(columns[name]) for name in shown})
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
    names = [name for name in MORE if all(name in own for own in shown.values())]
    return [
        OVER_SEEDS,
        *(s for name in names[:1] for s in sweep.tested(table, name, TITLES[name][0])),
    ]


def _shown(columns: Columns, names: Sequence[str], asked: Sequence[RunScores]) -> Columns:
    """The columns of runs and baselines with the scores that some results have."""
    scores = {name for own in asked for name in own.scores["vae"]}
    scores |= {MORE[name] for name in scores & MORE.keys()}
    heads = tuple(COLUMNS[name] for name in BASELINES if any(name in own.scores for own in asked))
    return {
        column: {name: own for name, own in rows.items() if name in scores or column not in names}
        for column, rows in columns.items()
        if column in names or column.startswith(heads)
    }


def _seen(result: RunScores, given: Sequence[str], greys: bool) -> str:
    """The title of the figure: images, weights, seed and scale, and runs with log p(x | y)."""
    conditional = f"; log p(x | y) for {', '.join(given)}" if given else ""
    weights = (
        f"{result.settings['checkpoint']} weights, scored with seed {result.settings['seed']}"
    )
    scale = "; log p(x) and ELBO of grey values" if greys else ""
    return f"{result.about}; {weights}{scale}{conditional}; bars: 2 standard errors over images"


def check_comparable(runs: Sequence[Opened]) -> None:
    """Raises `InputError` unless runs score the same observations."""
    first, *others = runs
    for other in others:
        pair = f"{first.run} and {other.run} cannot be compared"
        split = first.settings["split"]
        if first.settings["images"] != other.settings["images"]:
            raise InputError(
                f"{pair}: their images of the split {split} differ{_sizes(first, other)}"
            )
        levels = [own.scorer.programs.likelihood.grey_levels for own in (first, other)]
        if levels[0] != levels[1] and None in levels:
            raise InputError(f"{pair}: one observes binary pixels, the other grey values")
        if first.settings["observed"] != other.settings["observed"]:
            raise InputError(f"{pair}: their binarisations differ")


def _sizes(first: Opened, other: Opened) -> str:
    """The numbers and sizes of the images of two runs in brackets; "" if they are equal."""
    shapes = [own.scorer.split.images.shape for own in (first, other)]
    count = [f"{n:,} of {'x'.join(map(str, rest))}" for n, *rest in shapes]
    return "" if count[0] == count[1] else f" ({count[0]}, and {count[1]})"


def _baselines(baseline: str, named: Mapping[str, RunScores]) -> Columns:
    """The columns of a baseline: one per distinct result, with its run's name if several."""
    kept: list[tuple[str, str, dict[str, Estimate]]] = []
    for name, result in named.items():
        found, title = result.comparable(baseline), COLUMNS[baseline]
        found.pop("more_than_elbo", None)  # It differs between runs, whose baseline is the same.
        if "latent_dims" in found:
            title = f"{title} {found['latent_dims'].value:.0f}"
        if found and all(found != own for *_, own in kept):
            kept.append((title, name, found))
    alone = len(kept) == 1
    return {title if alone else f"{title}, {name}": found for title, name, found in kept}


def _difference(first: RunScores, other: RunScores) -> dict[str, Estimate]:
    """Mean differences per image of log p(x) and of the ELBO: the other run minus the first.

    Both are log probabilities of grey values: a density of dequantised pixels gives a lower
    bound of the probability of its cell.
    """
    base, found = first.of_images(), other.of_images()
    each = {score: (found[score] - base[score]).to_numpy() for score in found if score in base}
    groups, rows = first.groups, first.drawn
    more = {name: Estimate.of(each[own], groups) for own, name in MORE.items() if own in each}
    if "log_evidence" in each and len(rows) < first.num_images:
        both = each["elbo"], each["gap"][rows]
        more[MORE["log_evidence"]] = Estimate.of_sum(*both, rows, groups)
    return more


def _write(
    columns: Columns, named: Mapping[str, RunScores], path: Path, greys: bool, sweep: Sweep
) -> None:
    """Writes all scores, with the scale of those that a change of density would shift.

    Each row has the options that differ between the runs.
    """
    first = next(iter(named.values()))
    scales = dict.fromkeys(SCALED, "grey values" if greys else "as scored")
    rows = []
    for column, scores in columns.items():
        used = named.get(column, first).settings
        both = {name: used[name] for name in SETTINGS} | {"num_images": first.num_images}
        both["epoch"] = named[column].epoch or "" if column in named else ""
        for name, own in scores.items():
            row = {"run": column, "score": name, "value": own.value, "error": own.error}
            row["scale"] = scales.get(name, "")
            options = {option: own.get(column, "") for option, own in sweep.changed.items()}
            rows.append({**row, **both, **options})
    with replacing(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
