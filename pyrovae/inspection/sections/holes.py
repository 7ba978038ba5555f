"""Where are the holes? The aggregate posterior beside the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

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
from pyrovae.inspection.sections.traversals import sites_said
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 40

_Found = TypeVar("_Found")

SHOWN = 6
#: A share of draws better covered than half of the held-out images that is worth a remedy.
COVERED = 0.4
LEVEL = 0.01


@dataclass(frozen=True)
class _Parts:
    """What could be found, None for what could not, and why not."""

    holes: Holes | None
    single: pandas.DataFrame | None
    whole: MMDTest | None
    worst: Projections | None
    prior: np.ndarray
    reasons: list[str]


def section(subject: Subject) -> Section:
    """Holes of the aggregate posterior, and where its spread is not that of the prior.

    What cannot be had (holes need 100 images, all else fewer) is said, with the reason.

    Args:
        subject: what is inspected; dimensions and planes are those of its sites.

    Raises:
        InputError: if there is no such site, or nothing can be compared with the prior.
    """
    parts = _parts(subject)
    return Section(
        "Where are the holes?",
        [
            *_holes_said(parts.holes),
            *_marginals_said(parts.single),
            *_together_said(parts.whole),
            *_planes_said(parts.worst),
            *sites_said(subject, "holes and what is said of all dimensions together are"),
            *parts.reasons,
        ],
        _holes_advice(parts.holes) + _spread_advice(parts.single),
        _tables(parts),
        _figures(subject, parts),
    )


def _parts(subject: Subject) -> _Parts:
    columns, encoded, reasons = subject.columns, subject.encoded, []

    def tried(what: str, find: Callable[[], _Found]) -> _Found | None:
        try:
            return find()
        except InputError as reason:
            reasons.append(f"{what}: {reason}.")
            return None

    holes = tried("Holes were not looked for", lambda: find_holes(subject))
    z = subject.prior_draws(subject.effort.draws)[0] if holes is None else holes.z
    prior, own = z.cpu().double().numpy(), encoded.only(columns)
    named = own.draws, prior[:, columns], own.names
    seed = subject.seed
    single = tried("Single dimensions were not compared", lambda: marginals(*named))
    whole = tried(
        "All dimensions together were not compared",
        lambda: mmd_test(encoded.draws, prior, seed=seed),
    )
    worst = tried("Planes were not compared", lambda: worst_projections(*named, seed=seed))
    if len(reasons) == 4:  # The second needs the fewest images.
        raise InputError(reasons[1].split(": ", 1)[1].removesuffix("."))
    return _Parts(holes, single, whole, worst, prior[:, columns], reasons)


def _tables(parts: _Parts) -> dict[str, pandas.DataFrame]:
    import pandas

    tables = {}
    if parts.holes is not None:
        tables["holes"] = parts.holes.shares
        tables["hole_draws"] = parts.holes.prior
        tables["hole_held_out"] = parts.holes.held_out
    if parts.single is not None:
        tables["aggregate_marginals"] = parts.single
    if parts.worst is not None:
        tables["aggregate_planes"] = parts.worst.table
    if parts.whole is not None:
        tables["aggregate_mmd"] = pandas.DataFrame([vars(parts.whole)])
    return tables


def _excess(found: Holes) -> float:
    """How many errors the larger share of the two is above its nominal one."""
    shares = found.shares
    return float(((shares.share - shares.nominal) / shares.error.clip(lower=1e-9)).max())


def _worse(found: Holes) -> bool:
    """Whether the prior's draws are less covered than held-out images, by either criterion."""
    shares = found.shares
    told = shares.p_value * len(shares) < LEVEL
    return bool((told & (shares.covered < COVERED)).any())


def _holes_said(found: Holes | None) -> list[str]:
    if found is None:
        return []
    ratio, distance = found.shares.loc["log_ratio"], found.shares.loc["distance"]
    said = []
    if _worse(found) and _excess(found) <= 2:
        said.append(
            "No share of the prior is empty beyond what chance gives, but on the whole its draws "
            "are less covered by posteriors than the encodings of other images are."
        )
    said += [
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
            f"(the median is {-ratio.held_out:,.0f} nats below the prior): posteriors are narrow "
            f"beside the space between them, and only holes larger than that space can be seen."
        )
    return said


def _marginals_said(single: pandas.DataFrame | None) -> list[str]:
    if single is None:
        return []
    off = single[single.adjusted < LEVEL]
    farthest = single.distance.idxmax()
    row = single.loc[farthest]
    return [
        f"{len(off)} of {len(single)} dimensions are spread differently from the prior (p < "
        f"{LEVEL} for all dimensions together); the furthest off is {farthest}, of mean "
        f"{row['mean']:.2f} and standard deviation {row.sd:.2f} where the prior has "
        f"{row.prior_mean:.2f} and {row.prior_sd:.2f} (Kolmogorov-Smirnov distance "
        f"{row.distance:.2f})."
    ]


def _together_said(whole: MMDTest | None) -> list[str]:
    if whole is None:
        return []
    together = "All dimensions together differ"
    if whole.p_value >= LEVEL:
        together = "Of all dimensions together no difference was found"
    return [
        f"{together} by maximum mean discrepancy (squared {whole.value:.2g}, p = "
        f"{whole.p_value:.2g} by relabelling)."
    ]


def _planes_said(worst: Projections | None) -> list[str]:
    if worst is None or not len(worst.table):
        return []
    plane = worst.table.iloc[0]
    return [
        f"The plane in which they differ most, of {plane['first']} and {plane['second']}, was "
        f"looked for on one half of the draws; on the other p = {plane.adjusted:.2g}."
    ]


def _holes_advice(found: Holes | None) -> list[str]:
    if found is None or not (_excess(found) > 3 or _worse(found)):
        return []
    return [
        "The prior draws what the decoder was hardly trained on, so samples may look worse "
        "than reconstructions: try a prior that follows the encodings more closely (FlowPrior, "
        "VampPrior, a GaussianMixture of more components), more weight on the rate (beta), or "
        "fewer latent dimensions."
    ]


def _spread_advice(single: pandas.DataFrame | None) -> list[str]:
    if single is None:
        return []
    narrow = single[(single.adjusted < LEVEL) & (single.sd < 0.8 * single.prior_sd)]
    if not len(narrow):
        return []
    return [
        f"Encodings are less spread than the prior in {len(narrow)} dimensions, such as "
        f"{narrow.index[0]}: a longer training or a lower learning rate at its end may close "
        f"the gap, and a prior that is learned with them does."
    ]


def _figures(subject: Subject, parts: _Parts) -> dict[str, Drawing]:
    drawn, count, where = {}, len(parts.prior), subject.where()
    found, single, worst = parts.holes, parts.single, parts.worst
    if found is not None:
        drawn["holes_coverage"] = Drawing(
            figures.coverage(found.prior, found.held_out, found.shares),
            f"How well the posteriors of {found.images:,} images cover {count:,} draws of the "
            f"prior (line) and the encodings of the other images (area), as densities; {where}.",
        )
        drawn["holes_pictures"] = _pictures(subject, found)
    if single is not None:
        drawn["aggregate_marginals"] = _marginals_drawn(subject, single, parts.prior)
    if worst is not None and len(worst.table):
        drawn["aggregate_planes"] = Drawing(
            figures.planes(worst),
            f"The planes in which encodings and prior differ most, in standard deviations of the "
            f"prior, at most 400 draws of each; p-values of draws on which the planes were not "
            f"chosen, for all planes together; {where}.",
        )
    return drawn


def _marginals_drawn(subject: Subject, single: pandas.DataFrame, prior: np.ndarray) -> Drawing:
    draws = subject.encoded.only(subject.columns).draws
    limit = smallest_difference(len(draws), len(prior), LEVEL / len(single))
    return Drawing(
        figures.worst_marginals(single, draws, prior, limit),
        f"Above, the Kolmogorov-Smirnov distance of each dimension; the dashed line is where "
        f"one of all would be called different (p = {LEVEL}). Below, the worst dimensions: "
        f"encodings (area) and {len(prior):,} draws of the prior (line), as densities; "
        f"{subject.where()}.",
    )


def _pictures(subject: Subject, found: Holes) -> Drawing:
    deep, dense = found.extremes(SHOWN)
    named = {"In the deepest holes": deep, "Where encodings are densest": dense}
    rows = {title: found.show(subject, rows) for title, rows in named.items()}
    ratio = found.prior["log_ratio"].to_numpy()
    notes = {title: [f"{r:,.0f}" for r in np.round(ratio[rows])] for title, rows in named.items()}
    return Drawing(
        image_rows(rows, notes),
        f"What the least and the best covered of {len(found.z):,} draws of the prior decode to, "
        f"without the likelihood's noise; below each its log q(z) - log p(z) in nats, where q is "
        f"the posteriors of {found.images:,} images; {subject.where()}.",
    )
