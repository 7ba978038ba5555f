"""Does each factor have a dimension of its own?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.factors import factor_scores
from pyrovae.evaluation.information import mutual_information_table
from pyrovae.inspection.figures.attributes import information_map
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 110

#: Cells of a column of the table of information.
BINS = 10
#: Scores of factors, and what they are called.
SCORES = {
    "mutual_information_gap": "mutual information gap",
    "disentanglement": "disentanglement",
    "completeness": "completeness",
    "informativeness": "informativeness",
}


def section(subject: Subject) -> Section:
    """MIG, DCI, and the mutual information of every factor with every dimension."""
    import pandas

    if not subject.factors:
        raise InputError(
            "the subject names no factors that the images were made from (its `factors`)"
        )
    rates = subject.encoded.kl[:, subject.columns].mean(0)
    order = subject.columns[np.argsort(-rates, kind="stable")]
    codes, names = subject.encoded.loc[:, order], list(subject.factors)
    values = subject.split.table()[names].to_numpy()
    scores = factor_scores(codes, values, names, subject.seed)
    table = mutual_information_table(codes, values, names, BINS)
    table.columns = [subject.encoded.names[column] for column in order]
    # What cells of so few images seem to share by chance alone.
    shuffled = np.random.default_rng(subject.seed).permutation(len(codes))
    chance = mutual_information_table(codes, values[shuffled], names, BINS).to_numpy().mean()
    rows = [(name, found.value, found.error) for name, found in scores.items()]
    return Section(
        "Does each factor have a dimension of its own?",
        [_scores_said(scores), _dimensions_said(table, chance)],
        tables={
            "factor_scores": pandas.DataFrame(rows, columns=["score", "value", "error"]),
            "mutual_information": table.reset_index(),
        },
        figures={"information": _map(subject, table, chance)},
    )


def _map(subject: Subject, table: pandas.DataFrame, chance: float) -> Drawing:
    return Drawing(
        information_map(table, chance),
        f"Mutual information of each factor with each dimension of the posterior means, in nats, "
        f"both cut into {BINS} bins; {subject.where()}. Black is what shuffled images have. One "
        "bright cell in a row and in a column is what disentangled latents have.",
    )


def _scores_said(scores: dict[str, Estimate]) -> str:
    parts = [
        f"{words} {scores[name].value:.2f} ± {scores[name].error:.2f}"
        for name, words in SCORES.items()
    ]
    gap = scores["mutual_information_gap"].value
    meaning = (
        "most factors have a dimension that no other comes near"
        if gap > 0.5
        else "some factors have a dimension of their own"
        if gap > 0.1
        else "factors are spread over several dimensions, as nothing in an ELBO asks for axes"
    )
    said = ", ".join(parts)
    return f"{said[0].upper()}{said[1:]} (all 1 at best): {meaning}."


def _dimensions_said(table: pandas.DataFrame, chance: float) -> str:
    """The clearest pair of a factor and a dimension."""
    factor, dimension = table.stack().idxmax()
    return (
        f"The clearest pair is {factor} and {dimension}, which share {table.to_numpy().max():.2f} "
        f"nats (unrelated columns come to {chance:.2f} with so many images)."
    )
