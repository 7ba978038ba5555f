"""Does each factor have its own dimension?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.factors import factor_scores, known_rows
from pyrovae.evaluation.information import mutual_information_table
from pyrovae.inspection.plotting import heat_map
from pyrovae.inspection.section import Drawing, Inapplicable, Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import pandas
from pyrovae.utils.palette import HEAT
from pyrovae.utils.plotting import name_axes, panel

__all__ = ["section"]

PLACE = 110

CAPTIONS = {
    "factor_scores": "Scores of disentanglement",
    "mutual_information": "Mutual information per factor and dimension, in nats",
}
#: Cells of a column of the table of information.
BINS = 10
#: A factor with less informativeness is not encoded.
ENCODED = 0.1
#: With a larger gap, one dimension holds most of what is known of a factor.
APART = 0.5
#: Scores of factors.
SCORES = ("mutual_information_gap", "disentanglement", "completeness", "informativeness")


def section(subject: Subject) -> Section:
    """MIG, DCI, and the mutual information of each factor with each latent dimension."""
    if not subject.factors:
        raise Inapplicable("the data set does not name the factors of its images")
    (subject, left_out), names = _complete(subject), list(subject.factors)
    rates = subject.encoded.kl[:, subject.columns].mean(0)
    order = subject.columns[np.argsort(-rates, kind="stable")]
    codes = subject.encoded.loc[:, order]
    values = subject.split.attributes[:, subject.split.places(names)]
    splits = subject.budget.num_splits
    scores = factor_scores(codes, values, names, subject.seed, num_splits=splits)
    table = mutual_information_table(codes, values, names, BINS)
    table.columns = [subject.encoded.names[column] for column in order]
    chance = _by_chance(codes, values, names, subject.seed)
    rows = [(name, found.value, found.error) for name, found in scores.items()]
    return Section(
        "Does each factor have its own dimension?",
        [*_scores_said(scores), _dimensions_said(table, chance), *left_out],
        tables={
            "factor_scores": pandas.DataFrame(rows, columns=["score", "value", "error"]),
            "mutual_information": table.reset_index(),
        },
        figures={"information": _map(subject, table, chance)},
        captions=CAPTIONS,
    )


def _complete(whole: Subject) -> tuple[Subject, list[str]]:
    """Independent images whose factors are all known, and sentences on those that are left out."""
    subject = whole.independent
    said, total = subject.thinned_said(whole), len(subject.split)
    rows = known_rows(subject.split, subject.factors)
    if len(rows) == total:
        return subject, said
    left_out = f"{total - len(rows):,} of {total:,} images are left out: a factor is unknown."
    return replace(subject, split=subject.split.take(rows)), [*said, left_out]


def _by_chance(codes: np.ndarray, values: np.ndarray, names: list[str], seed: int) -> float:
    """The mean mutual information with factors of other images.

    Histograms of few images have a positive value by chance.
    """
    shuffled = values[np.random.default_rng(seed).permutation(len(codes))]
    return float(mutual_information_table(codes, shuffled, names, BINS).to_numpy().mean())


def _map(subject: Subject, table: pandas.DataFrame, chance: float) -> Drawing:
    """The mutual information of each factor with each dimension, in nats."""
    figure, own = panel(1.6 + 0.24 * len(table))
    name_axes(own, "latent dimension, in the order of the rate", "factor")
    heat_map(own, table, "mutual information (nats)", cmap=HEAT, vmin=chance, aspect="auto")
    return Drawing(
        figure,
        f"Mutual information of each factor with each dimension of the posterior means, in nats; "
        f"{subject.where()}, histograms of {BINS} bins. Black is the value of shuffled images. If "
        f"each factor has its own dimension, each row has one bright cell and each column at "
        f"most one.",
    )


def _scores_said(scores: dict[str, Estimate]) -> list[str]:
    """The scores; which factors are encoded; how many of these have a dimension of their own."""
    listed = ", ".join(f"{name} {scores[name]:.3f}" for name in SCORES)
    said = [f"{listed} (the best value of each is 1).".replace("_", " ").capitalize()]
    informed = _by_factor(scores, "informativeness")
    lost = [name for name, value in informed.items() if value < ENCODED]
    kept = [name for name in informed if name not in lost]
    if lost:
        below = f"informativeness below {ENCODED:g}"
        said.append(f"Not in the posterior means ({below}): {', '.join(lost)}.")
    if kept:
        gaps = _by_factor(scores, "mutual_information_gap")
        own = [name for name in kept if gaps[name] > APART]
        names = f": {', '.join(own)}" if own else ""
        alone = f"Encoded factors with a dimension of their own (gap above {APART:g})"
        said.append(f"{alone}: {len(own)} of {len(kept)}{names}.")
    return said


def _by_factor(scores: dict[str, Estimate], score: str) -> dict[str, float]:
    """A score of each factor that varies."""
    parts = {name.partition("/"): found.value for name, found in scores.items()}
    return {
        factor: value for (kind, slash, factor), value in parts.items() if slash and kind == score
    }


def _dimensions_said(table: pandas.DataFrame, chance: float) -> str:
    """The factor and the dimension with the largest mutual information."""
    factor, dimension = table.stack().idxmax()
    return (
        f"The largest mutual information is {table.to_numpy().max():.2f} nats, of {factor} and "
        f"{dimension} (shuffled images have {chance:.2f} nats)."
    )
