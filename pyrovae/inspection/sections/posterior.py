"""What does q(z given x) say for these images?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pyrovae.inspection.figures.posterior import correlation_map, intervals, predictive_rows
from pyrovae.inspection.posterior import (
    Predictive,
    correlation_table,
    correlations,
    predictive,
)
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.encoding import Encoded, encode

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 30

#: Dimensions that a figure has room for.
SHOWN = 24
DRAWS = 100


def section(subject: Subject) -> Section:
    """Locations, scales, correlations, divergences, and what draws decode to."""
    names = list(subject.shown.names)
    found = encode(subject.programs, subject.shown, subject.engine, seed=subject.seed)
    found = found.only(subject.columns)
    x, inputs = subject.observed(subject.shown)
    with subject.quietly(1):
        seen = predictive(subject.space, x, inputs, DRAWS)
        draws = subject.space.guide_draws(max(3, subject.effort.draws), x, **inputs)
    matrices = correlations(draws[..., torch.from_numpy(subject.columns).to(draws.device)])
    tables = {
        "posteriors": found.table(names),
        "correlations": correlation_table(matrices, names, found.names),
        "predictive": seen.table(names),
    }
    return Section(
        "What does the guide say of these images?",
        [*_spreads(tables["predictive"]), _dependence(tables["correlations"], len(draws))],
        tables=tables,
        figures={
            "predictive": _predictive(subject, seen, names),
            **_dimensions(subject, tables["posteriors"], found, matrices, names),
        },
    )


def _predictive(subject: Subject, seen: Predictive, names: list[str]) -> Drawing:
    images = torch.from_numpy(np.array(subject.shown.images)).float() / 255
    said = (
        f"Posterior predictive, {subject.shown_where()}: mean and standard deviation of {DRAWS} "
        "draws, in grey levels of 256; draws of z decoded, and the last with the likelihood's "
        "noise."
    )
    return Drawing(predictive_rows(images, seen, names), said)


def _dimensions(
    subject: Subject,
    table: pandas.DataFrame,
    found: Encoded,
    matrices: np.ndarray,
    names: list[str],
) -> dict[str, Drawing]:
    """The dimensions that carry most: where they lie, and how they depend on each other."""
    top = np.argsort(-found.kl.mean(0), kind="stable")[:SHOWN]
    dims = [found.names[column] for column in top]
    most = f"the {len(dims)} dimensions that carry most"
    return {
        "intervals": Drawing(
            intervals(table, dims),
            f"Posteriors, {subject.shown_where()}: location ± 2 scales in {most}, coloured by "
            "the divergence from the prior; the grey band is ± 2, where a standard Normal has "
            "95 % of its mass.",
        ),
        "correlations": Drawing(
            correlation_map(matrices[0][np.ix_(top, top)], dims, names[0]),
            f"Correlations of the posterior of {names[0]}, the first of "
            f"{subject.shown_where()}, in {most}; {max(3, subject.effort.draws):,} draws.",
        ),
    }


def _spreads(table: pandas.DataFrame) -> list[str]:
    latent, whole = (
        float(np.sqrt(np.square(table[name]).mean())) for name in ("latent_spread", "spread")
    )
    return [
        f"What z leaves open moves a pixel by {latent:.1f} grey levels of 256; with the "
        f"likelihood's noise it is {whole:.1f}: {100 * (latent / max(whole, 1e-9)) ** 2:.2g} % "
        "of the variance is uncertainty about z, if the guide's widths are right."
    ]


def _dependence(pairs: pandas.DataFrame, draws: int) -> str:
    if not len(pairs):
        return "There is one dimension, so nothing to depend on each other."
    row = pairs.loc[pairs["correlation"].abs().idxmax()]
    # The largest of some ten thousand pairs of independent draws.
    limit = 5 / draws**0.5
    if abs(row["correlation"]) < limit:
        return (
            f"No two dimensions of a posterior depend on each other as far as {draws:,} draws "
            f"tell: the largest correlation is {row['correlation']:.2f}, and one below "
            f"{limit:.2f} could not be told from noise."
        )
    return (
        f"The dimensions that depend most on each other are {row['first']} and {row['second']} of "
        f"{row['image']}: correlation {row['correlation']:.2f}."
    )
