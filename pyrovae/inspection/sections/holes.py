"""Where are the holes? The aggregate posterior beside the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.aggregate import (
    MMDTest,
    Projections,
    marginals,
    mmd_test,
    smallest_difference,
    worst_projections,
)
from pyrovae.inspection.figures import holes as figures
from pyrovae.inspection.figures.panels import image_rows
from pyrovae.inspection.holes import Holes, find_holes
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

SHOWN = 6
#: A share of draws better covered than half of the held-out images that is worth a remedy.
COVERED = 0.4
LEVEL = 0.01


def section(subject: Subject) -> Section:
    """Holes of the aggregate posterior, and where its spread is not that of the prior.

    Args:
        subject: what is inspected.

    Raises:
        InputError: if there are fewer than 100 images, or a posterior has no density.
    """
    found = find_holes(subject)
    encoded, prior = subject.encoded, found.z.cpu().double().numpy()
    single = marginals(encoded.draws, prior, encoded.names)
    whole = mmd_test(encoded.draws, prior, seed=subject.seed)
    worst = worst_projections(encoded.draws, prior, encoded.names, seed=subject.seed)
    return Section(
        "Where are the holes?",
        _holes_said(found) + _spread_said(single, whole, worst),
        _advice(found, single),
        {
            "holes": found.shares,
            "hole_draws": found.prior,
            "hole_held_out": found.held_out,
            "aggregate_marginals": single,
            "aggregate_planes": worst.table,
            "aggregate_mmd": _mmd_table(whole),
        },
        _figures(subject, found, single, worst),
    )


def _excess(found: Holes) -> float:
    """How many errors the larger share of the two is above its nominal one."""
    shares = found.shares
    return float(((shares.share - shares.nominal) / shares.error.clip(lower=1e-9)).max())


def _worse(found: Holes) -> bool:
    """Whether the prior's draws are less covered than held-out images, by either criterion."""
    shares = found.shares
    told = shares.p_value * len(shares) < LEVEL
    return bool((told & (shares.covered < COVERED)).any())


def _holes_said(found: Holes) -> list[str]:
    ratio, distance = found.shares.loc["log_ratio"], found.shares.loc["distance"]
    said = [
        f"{ratio.share:.1%} of the prior's mass (standard error {ratio.error:.1%}) lies where "
        f"hardly any image is encoded; {ratio.nominal:.1%} would if encodings were spread as the "
        f"prior.",
        f"{ratio.covered:.1%} of the prior's draws are better covered than the median held-out "
        f"image, and 50.0% would be if spread alike (Kolmogorov-Smirnov distance {ratio.ks:.2f}, "
        f"p = {ratio.p_value:.2g}): the median of log q(z) - log p(z) is {ratio.prior:,.0f} nats "
        f"for the prior and {ratio.held_out:,.0f} for images held out of q. Hardly encoded to is "
        f"what lies below all but {ratio.nominal:.1%} of these.",
        f"By distance to the nearest posterior it is {distance.share:.1%} (standard error "
        f"{distance.error:.1%}): half of the prior's draws are further than {distance.prior:.3g} "
        f"of its standard deviations from any posterior, half of the held-out images further "
        f"than {distance.held_out:.3g}.",
    ]
    if ratio.held_out < 0:
        said.append(
            f"The mixture of {found.images:,} posteriors does not cover other images either "
            f"(median {ratio.held_out:,.0f} nats below the prior): posteriors are narrow beside "
            f"the space between them, and only holes larger than that space can be seen."
        )
    return said


def _spread_said(single: pandas.DataFrame, whole: MMDTest, worst: Projections) -> list[str]:
    off = single[single.adjusted < LEVEL]
    farthest = single.distance.idxmax()
    row = single.loc[farthest]
    together = "All dimensions together differ"
    if whole.p_value >= LEVEL:
        together = "Of all dimensions together no difference was found"
    said = [
        f"{len(off)} of {len(single)} dimensions are spread differently from the prior (p < "
        f"{LEVEL} for all dimensions together); the furthest off is {farthest}, of mean "
        f"{row['mean']:.2f} and standard deviation {row.sd:.2f} where the prior has "
        f"{row.prior_mean:.2f} and {row.prior_sd:.2f} (Kolmogorov-Smirnov distance "
        f"{row.distance:.2f}).",
        f"{together} by maximum mean discrepancy (squared {whole.value:.2g}, p = "
        f"{whole.p_value:.2g} by relabelling).",
    ]
    if len(worst.table):
        plane = worst.table.iloc[0]
        said.append(
            f"The plane in which they differ most, of {plane['first']} and {plane['second']}, was "
            f"looked for on one half of the draws; on the other p = {plane.adjusted:.2g}."
        )
    return said


def _advice(found: Holes, single: pandas.DataFrame) -> list[str]:
    advice = []
    if _excess(found) > 3 or _worse(found):
        advice.append(
            "The prior draws what the decoder was hardly trained on, so samples may look worse "
            "than reconstructions: try a prior that is learned (VampPrior, GaussianMixture, "
            "FlowPrior), more weight on the rate (beta), or fewer latent dimensions."
        )
    narrow = single[(single.adjusted < LEVEL) & (single.sd < 0.8 * single.prior_sd)]
    if len(narrow):
        advice.append(
            f"Encodings are less spread than the prior in {len(narrow)} dimensions, such as "
            f"{narrow.index[0]}: a longer training or a lower learning rate at its end may close "
            f"the gap, and a learned prior does."
        )
    return advice


def _mmd_table(whole: MMDTest) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame([vars(whole)])


def _figures(
    subject: Subject, found: Holes, single: pandas.DataFrame, worst: Projections
) -> dict[str, Drawing]:
    prior, encoded = found.z.cpu().double().numpy(), subject.encoded
    limit = smallest_difference(len(encoded), len(prior), LEVEL / len(single))
    count, where = len(prior), subject.where()
    drawn = {
        "holes_coverage": Drawing(
            figures.coverage(found.prior, found.held_out, found.shares),
            f"How well the posteriors of {found.images:,} images cover {count:,} draws of the "
            f"prior (line) and the encodings of the other images (area), as densities; {where}.",
        ),
        "holes_pictures": _pictures(subject, found),
        "aggregate_marginals": Drawing(
            figures.worst_marginals(single, encoded.draws, prior, limit),
            f"Above, the Kolmogorov-Smirnov distance of each dimension; the dashed line is where "
            f"one of all would be called different (p = {LEVEL}). Below, the worst dimensions: "
            f"encodings (area) and {count:,} draws of the prior (line), as densities; {where}.",
        ),
    }
    if len(worst.table):
        drawn["aggregate_planes"] = Drawing(
            figures.planes(worst),
            f"The planes in which encodings and prior differ most, in standard deviations of the "
            f"prior, at most 400 draws of each; p-values of draws on which the planes were not "
            f"chosen, for all planes together; {where}.",
        )
    return drawn


def _pictures(subject: Subject, found: Holes) -> Drawing:
    deep, dense = found.extremes(SHOWN)
    named = {"In the deepest holes": deep, "Where encodings are densest": dense}
    rows = {title: found.show(subject, rows) for title, rows in named.items()}
    ratio = found.prior["log_ratio"].to_numpy()
    notes = {title: [f"{r:,.0f}" for r in np.round(ratio[rows])] for title, rows in named.items()}
    return Drawing(
        image_rows(rows, notes),
        f"What the least and the best covered of {len(found.z):,} draws of the prior decode to, "
        f"without the likelihood's noise; below each its log q(z) - log p(z), in nats.",
    )
