"""How much prior mass lies where no image is encoded? The aggregate posterior and the prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from pyrovae.inspection import aggregate
from pyrovae.inspection.aggregate import MMDTest, Projections
from pyrovae.inspection.holes import Holes, find_holes
from pyrovae.inspection.plotting import Sample, densities, image_rows
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import sites_said
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import GUIDE, INK, PRIOR
from pyrovae.utils.plotting import TITLE, canvas, empty, legend, name_axes, whole_ticks
from pyrovae.utils.text import chance

__all__ = ["section"]

PLACE = 40

_Found = TypeVar("_Found")

#: Images per row, and dimensions whose histograms are drawn.
SHOWN = 6
#: Points per sample on a plane.
POINTS = 400
#: Tests that say "p" reject below this.
LEVEL = 0.01
#: What is said if coverage differs, but not the distributions as far as they can be tested.
ALIKE = (
    "Draws of the prior are less covered by posteriors than held-out encodings are, but this "
    "does not imply a region without encodings: tests of single dimensions, of planes and of all "
    "dimensions together found no difference between encodings and prior. At the scale of single "
    "posteriors, encodings form groups, as encodings of similar images do."
)

#: What each table shows.
CAPTIONS = {
    "holes": "Coverage of the prior's draws and of held-out encodings",
    "hole_draws": "Coverage per draw of the prior",
    "hole_held_out": "Coverage per held-out encoding",
    "aggregate_marginals": "Aggregate posterior against the prior, per dimension",
    "aggregate_planes": "Aggregate posterior against the prior, per pair of dimensions",
    "aggregate_mmd": "Aggregate posterior against the prior, all dimensions (MMD)",
}


def section(subject: Subject) -> Section:
    """Prior mass that the aggregate posterior does not cover, and differences between the two.

    Impossible comparisons are listed with the reason; holes need 100 images, the others fewer.

    Args:
        subject: what is inspected; dimensions and planes are those of its sites.

    Raises:
        InputError: if a site is unknown, or no comparison is possible.
    """
    answer = Section("How much prior mass lies where no image is encoded?", [], captions=CAPTIONS)
    whole_subject, subject = subject, subject.independent
    columns, encoded, seed = subject.columns, subject.encoded, subject.seed
    reasons: list[str] = []
    holes = _tried(reasons, "There was no search for holes", find_holes, subject)
    z = subject.prior_draws(subject.budget.draws)[0] if holes is None else holes.z
    prior, own = z.cpu().double().numpy(), encoded.only(columns)
    named = own.draws, prior[:, columns], own.names
    single = _tried(reasons, "Single dimensions were not compared", aggregate.marginals, *named)
    what = "All dimensions together were not compared"
    whole = _tried(reasons, what, aggregate.mmd_test, encoded.draws, prior, seed=seed)
    what = "Planes were not compared"
    worst = _tried(reasons, what, aggregate.worst_projections, *named, seed=seed)
    if len(reasons) == 4:  # The second comparison needs the fewest images.
        reason = reasons[1].split(": ", 1)[1].removesuffix(".")
        raise InputError(". ".join([reason, *subject.thinned_said(whole_subject)]))
    if holes is not None:
        _add_holes(answer, subject, holes, _differ(single, whole, worst))
    if single is not None:
        _add_marginals(answer, subject, single, *named[:2])
    _add_rest(answer, subject.where(), whole, worst)
    answer.says.extend(sites_said(subject, "holes and the test of all dimensions together are"))
    answer.says.extend([*reasons, *subject.thinned_said(whole_subject)])
    return answer


def _tried(
    reasons: list[str], what: str, find: Callable[..., _Found], *args: Any, **kwargs: Any
) -> _Found | None:
    """Calls `find`; on `InputError` appends the reason and returns None."""
    try:
        return find(*args, **kwargs)
    except InputError as reason:
        reasons.append(f"{what}: {reason}.")
        return None


def _differ(
    single: pandas.DataFrame | None, whole: MMDTest | None, worst: Projections | None
) -> bool:
    """Whether a test finds a difference between the distributions of encodings and prior."""
    tests = [] if whole is None else [whole.p_value]
    tests += [] if single is None else list(single.adjusted)
    tests += [] if worst is None else list(worst.table.adjusted)
    return min(tests, default=1.0) < LEVEL


def _add_holes(answer: Section, subject: Subject, found: Holes, differ: bool) -> None:
    answer.says.extend(_holes_said(found, differ))
    row = found.shares.loc["log_ratio"]
    more = max(0.0, row.share - row.nominal)
    answer.symptoms["holes"] = more * (_less_covered(found) and differ)
    answer.tables.update(holes=found.shares, hole_draws=found.prior, hole_held_out=found.held_out)
    answer.figures["holes_coverage"] = Drawing(
        _draw_coverage(found),
        f"Coverage by q, the mixture of the posteriors of {found.images:,} images: densities "
        f"over {len(found.z):,} draws of the prior (line) and over the encodings of the other "
        f"images (area); {subject.where()}.",
    )
    answer.figures["holes_pictures"] = _pictures(subject, found)


def _add_marginals(
    answer: Section, subject: Subject, single: pandas.DataFrame, own: np.ndarray, prior: np.ndarray
) -> None:
    answer.says.append(_marginals_said(single))
    answer.tables["aggregate_marginals"] = single
    limit = aggregate.smallest_difference(len(own), len(prior), LEVEL / len(single))
    answer.figures["aggregate_marginals"] = Drawing(
        _draw_marginals(single, own, prior, limit),
        f"Top: the Kolmogorov-Smirnov distance between encodings and prior in each dimension; "
        f"dimensions above the dashed line differ significantly (p = {LEVEL}, adjusted for all). "
        f"Bottom: the densities of encodings (area) and of {len(prior):,} draws of the prior "
        f"(line) in the dimensions with the largest distance; {subject.where()}.",
    )


def _add_rest(
    answer: Section, where: str, whole: MMDTest | None, worst: Projections | None
) -> None:
    """Adds the test of all dimensions together, and the planes with the largest difference."""
    if whole is not None:
        answer.says.append(_together_said(whole))
    if worst is not None:
        answer.tables["aggregate_planes"] = worst.table
    if worst is not None and len(worst.table):
        plane = worst.table.iloc[0]
        answer.says.append(
            f"The plane of {plane['first']} and {plane['second']} has the largest difference on "
            f"one half of the draws; on the other half {chance(plane.adjusted)}."
        )
        answer.figures["aggregate_planes"] = Drawing(
            _draw_planes(worst),
            "The planes in which encodings and prior differ most, in standard deviations of the "
            f"prior; at most {POINTS} draws of each. The p-values are from draws that were not "
            f"used to choose the planes, adjusted for all planes; {where}.",
        )
    if whole is not None:
        answer.tables["aggregate_mmd"] = pandas.DataFrame([vars(whole)])


def _less_covered(found: Holes) -> bool:
    """Whether draws of the prior are less covered than held-out encodings, by any test."""
    return any(any(own) for own in _tests(found))


def _tests(found: Holes) -> tuple[list[bool], list[bool]]:
    """Whether more of the prior is beyond each limit, and whether all of it is less covered."""
    shares = found.shares.loc[["log_ratio", "distance"]]
    lower = (shares.p_value < LEVEL / 2) & (shares.covered < 0.5)
    return list(shares.share_p < LEVEL / 2), list(lower)


def _holes_said(found: Holes, differ: bool) -> list[str]:
    ratio = found.shares.loc["log_ratio"]
    less = _less_covered(found)
    lead = "No difference of coverage was found"
    if less:
        lead = "Draws of the prior are less covered by posteriors than held-out encodings are"
    parts = _coverage_said(found)
    shares, lower = _tests(found)
    shown = [shares[0], lower[0], shares[1] or lower[1]]
    first = parts.pop(shown.index(less))  # The lead stands before the numbers that show it.
    said = [ALIKE, first] if less and not differ else [f"{lead}: {first}"]
    said += parts
    if ratio.held_out < 0:
        said.append(
            f"The mixture of {found.images:,} posteriors does not cover held-out images either "
            f"(their median log q(z) is {-ratio.held_out:,.0f} nats below log p(z)): posteriors "
            f"are narrower than the distances between them, so only holes larger than these "
            f"distances can be found."
        )
    return said


def _coverage_said(found: Holes) -> list[str]:
    """The shares and medians of both measures of coverage, with their tests."""
    ratio, distance = found.shares.loc["log_ratio"], found.shares.loc["distance"]
    return [
        f"{ratio.share:.1%} of the prior's draws (standard error {ratio.error:.1%}) and "
        f"{ratio.nominal:.1%} of the held-out encodings have a log q(z) - log p(z) below "
        f"{ratio.threshold:,.0f} nats (exact test, {chance(ratio.share_p)}).",
        f"{ratio.covered:.1%} of the prior's draws are better covered than the median held-out "
        f"image; 50.0% would be if both had one distribution (Kolmogorov-Smirnov distance "
        f"{ratio.ks:.2f}, {chance(ratio.p_value)}). The median of log q(z) - log p(z) is "
        f"{ratio.prior:,.0f} nats for draws of the prior and {ratio.held_out:,.0f} nats for "
        f"held-out images.",
        f"{distance.share:.1%} of the prior's draws (standard error {distance.error:.1%}) and "
        f"{distance.nominal:.1%} of the held-out encodings are more than "
        f"{distance.threshold:.3g} posterior standard deviations from the nearest posterior "
        f"(exact test, {chance(distance.share_p)}). The median distance is {distance.prior:.3g} "
        f"for draws of the prior and {distance.held_out:.3g} for held-out images "
        f"(Kolmogorov-Smirnov distance {distance.ks:.2f}, {chance(distance.p_value)}).",
    ]


def _marginals_said(single: pandas.DataFrame) -> str:
    farthest = single.distance.idxmax()
    row = single.loc[farthest]
    return (
        f"{(single.adjusted < LEVEL).sum()} of {len(single)} dimensions are distributed "
        f"differently from the prior (p < {LEVEL}, adjusted for all dimensions). {farthest} has "
        f"the largest distance: its mean is {row['mean']:.2f} (prior: {row.prior_mean:.2f}) and "
        f"its standard deviation {row.sd:.2f} (prior: {row.prior_sd:.2f}; Kolmogorov-Smirnov "
        f"distance {row.distance:.2f})."
    )


def _together_said(whole: MMDTest) -> str:
    together = "The joint distribution of all dimensions differs from the prior"
    if whole.p_value >= LEVEL:
        together = "No difference was found in the joint distribution of all dimensions"
    return (
        f"{together} (squared maximum mean discrepancy {whole.value:.2g}, permutation test "
        f"{chance(whole.p_value)})."
    )


def _pictures(subject: Subject, found: Holes) -> Drawing:
    deep, dense = found.extremes(SHOWN)
    named = {"Least covered draws": deep, "Best covered draws": dense}
    rows = {title: found.show(subject, rows) for title, rows in named.items()}
    ratio = found.prior["log_ratio"].to_numpy()
    notes = {title: [f"{r:,.0f}" for r in np.round(ratio[rows])] for title, rows in named.items()}
    return Drawing(
        image_rows(rows, notes),
        f"The least and the best covered of {len(found.z):,} draws of the prior, decoded without "
        f"the likelihood's noise; below each its log q(z) - log p(z) in nats, where q is the "
        f"mixture of the posteriors of {found.images:,} images; {subject.where()}.",
    )


def _draw_coverage(found: Holes) -> Figure:
    """The coverage of draws of the prior and of held-out encodings, by two criteria."""
    figure, axes = canvas(5.2, 2)
    named = {
        "log_ratio": "log q(z) - log p(z) (nats)",
        "distance": "distance to the nearest posterior (posterior standard deviations)",
    }
    for own, (name, label) in zip(axes[:, 0], named.items(), strict=True):
        densities(
            own,
            Sample(found.held_out[name].to_numpy(), "encodings of held-out images", GUIDE),
            Sample(found.prior[name].to_numpy(), "draws of the prior", PRIOR),
        )
        row = found.shares.loc[name]
        own.axvline(row.threshold, color=INK, lw=1, ls="--", label="limit")
        both = f"{row.share:.1%} of the prior's draws, {row.nominal:.1%} of the encodings"
        own.set_title(f"beyond the limit: {both}", fontsize=TITLE, loc="left")
        name_axes(own, label, "density")
    return legend(figure, axes[0, 0])


def _draw_marginals(
    table: pandas.DataFrame, aggregate: np.ndarray, prior: np.ndarray, limit: float
) -> Figure:
    """The distances of all dimensions, and histograms of the dimensions that differ most.

    Args:
        table: from `marginals`.
        aggregate: the draws of the guide that it was made from, `(N, D)`.
        prior: those of the model, `(M, D)`.
        limit: the least distance that is significant, adjusted for all dimensions.
    """
    order = table["distance"].to_numpy().argsort(kind="stable")[::-1]
    shown = order[:SHOWN]
    rows = -(-len(shown) // 3)
    figure = empty(2.3 + 1.6 * rows)
    grid = figure.add_gridspec(rows + 1, 3, height_ratios=[1.3] + [1] * rows)
    axes = figure.add_subplot(grid[0, :])
    axes.plot(np.arange(1, len(order) + 1), table["distance"].iloc[order], ".", color=INK)
    axes.axhline(limit, color=INK, lw=1, ls="--")
    axes.set_ylim(0, 1.1 * max(limit, table["distance"].max()))
    name_axes(axes, "latent dimension, in the order of the distance", "KS distance")
    whole_ticks(axes.xaxis)
    for place, dimension in enumerate(shown):
        panel = figure.add_subplot(grid[1 + place // 3, place % 3])
        encoded = Sample(aggregate[:, dimension], "encodings", GUIDE)
        drawn = Sample(prior[:, dimension], "draws of the prior", PRIOR)
        densities(panel, encoded, drawn, bins=24)
        panel.set_title(str(table.index[dimension]), fontsize=TITLE, loc="left")
        name_axes(panel)
    return legend(figure, panel)


def _draw_planes(found: Projections) -> Figure:
    """Draws of the prior and encodings in the planes where they differ most, at least one."""
    count = len(found.aggregate)
    figure, axes = canvas(3.2 if count > 1 else 4, 1, count)
    rows = zip(axes[0], found.table.itertuples(), found.aggregate, found.prior, strict=True)
    for own, row, q, p in rows:
        own.scatter(*p[:POINTS].T, s=6, color=PRIOR, linewidths=0, label="draws of the prior")
        own.scatter(*q[:POINTS].T, s=6, color=GUIDE, linewidths=0, alpha=0.7, label="encodings")
        own.set_title(f"{chance(row.adjusted)}, adjusted", fontsize=TITLE)
        name_axes(own, row.first, row.second)
    return legend(figure, axes[0, 0])
