"""What does q(z given x) say for these images?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pyrovae.inspection.encoding import encode
from pyrovae.inspection.figures.posterior import correlation_map, intervals, predictive_rows
from pyrovae.inspection.posterior import correlation_table, correlations, predictive
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

#: Dimensions that a figure has room for.
SHOWN = 24
DRAWS = 100


def section(subject: Subject) -> Section:
    """Locations, scales, correlations, divergences, and what draws decode to."""
    names = [str(name).split("/")[-1] for name in subject.shown.names]
    found = encode(subject.programs, subject.shown, subject.engine, seed=subject.seed)
    found = found.only(subject.columns)
    x, inputs = subject.observed(subject.shown)
    with subject.quietly(1):
        seen = predictive(subject.space, x, inputs, DRAWS)
        draws = subject.space.guide_draws(max(3, subject.effort.draws), x, **inputs)
    matrices = correlations(draws[..., torch.from_numpy(subject.columns)])
    top = np.argsort(-found.kl.mean(0), kind="stable")[:SHOWN]
    dims = [found.names[column] for column in top]
    table, pairs = found.table(names), correlation_table(matrices, names, found.names)
    chosen = f"{len(names)} images, of the split {subject.name} or given"
    images = torch.from_numpy(np.array(subject.shown.images)).float() / 255
    pictures = {
        "predictive": Drawing(
            predictive_rows(images, seen, names),
            f"Posterior predictive of {chosen}: mean and standard deviation of {DRAWS} draws, "
            "in grey levels of 256; draws of z decoded, and the last with the likelihood's noise.",
        ),
        "intervals": Drawing(
            intervals(table, dims),
            f"Posteriors of {chosen}: location ± 2 scales in the {len(dims)} dimensions that "
            "carry most; the band is ± 2.",
        ),
        "correlations": Drawing(
            correlation_map(matrices[0][np.ix_(top, top)], dims, names[0]),
            f"Correlations of the posterior of {names[0]}, from {len(draws):,} draws, in the "
            f"{len(dims)} dimensions that carry most.",
        ),
    }
    tables = {"posteriors": table.reset_index(), "correlations": pairs}
    tables["predictive"] = seen.table(names).reset_index()
    return Section(
        "What does the guide say of these images?",
        [*_spreads(tables["predictive"]), _dependence(pairs, len(draws))],
        tables=tables,
        figures=pictures,
    )


def _spreads(table: pandas.DataFrame) -> list[str]:
    latent, whole = (float(table[name].mean()) for name in ("latent_spread", "spread"))
    return [
        f"What z leaves open moves a pixel by {latent:.1f} grey levels of 256; with the "
        f"likelihood's noise it is {whole:.1f}: {100 * (latent / max(whole, 1e-9)) ** 2:.0f} % "
        "of the variance is uncertainty about z."
    ]


def _dependence(pairs: pandas.DataFrame, draws: int) -> str:
    if not len(pairs):
        return "There is one dimension, so nothing to depend on each other."
    row = pairs.loc[pairs["correlation"].abs().idxmax()]
    # The largest of some ten thousand pairs of independent draws.
    limit = 5 / draws**0.5
    if abs(row["correlation"]) < limit:
        return (
            f"No two dimensions of a posterior depend on each other (the largest correlation, "
            f"{row['correlation']:.2f}, is within the noise of {draws:,} draws)."
        )
    return (
        f"The dimensions that depend most on each other are {row['first']} and {row['second']} of "
        f"{row['image']}: correlation {row['correlation']:.2f}."
    )
