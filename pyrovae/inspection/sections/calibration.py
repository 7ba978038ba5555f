"""Simulation-based calibration and TARP: the true latents among draws of the guide."""

from __future__ import annotations

import numpy as np

from pyrovae.inspection.calibration import BINS, DENSITY, NUM_DRAWS, Ranks, ranks_of_truth
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import sites_said
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import GUIDE, INK, PALE, WARNING
from pyrovae.utils.plotting import LABEL, legend, name_axes, panel

__all__ = ["section"]

PLACE = 70

ACROSS = "rank of the true latent among the guide's draws (share)"

#: The false-alarm rate of all tests together.
ALPHA = 0.05

#: The last sentence of the answer.
MEANING = (
    "This test uses images drawn from the model, since only their latents are known. If these "
    "images do not look like the data, a guide trained on the data may be worse for them than "
    "for the data."
)

#: What each table shows.
CAPTIONS = {
    "calibration": "Ranks per dimension, tested against uniform ones, and coverage of "
    "the guide's intervals",
    "tarp": "Test of all dimensions together (TARP)",
    "tarp_curve": "Coverage per credibility level (TARP)",
}


def section(subject: Subject) -> Section:
    """The ranks of true latents among draws of the guide, and the joint coverage (TARP).

    Args:
        subject: what is inspected; the dimensions of its sites are tested.

    Raises:
        InputError: if a site is unknown, or there are too few draws.
    """
    columns = subject.columns
    z, inputs = subject.prior_draws(subject.budget.draws)
    count = NUM_DRAWS if len(subject.space.shapes) == 1 else subject.budget.rank_draws
    with subject.quietly(2):
        ranks = ranks_of_truth(subject.space, z, inputs, num_draws=count).only(columns)
    table = ranks.table()
    sites = table.drop(index=DENSITY, errors="ignore")
    joint, curve = ranks.tarp().table()[["chi_square", "p"]], ranks.tarp().coverage()
    said = [_answer(table, len(ranks)), _coverage(sites), *_together(table), _tarp(joint, curve)]
    said += sites_said(subject, "draws of images, log q, and TARP are")
    return Section(
        "Is the guide's uncertainty calibrated?",
        [*said, MEANING],
        tables={"calibration": table, "tarp": joint, "tarp_curve": curve},
        captions=CAPTIONS,
        figures=_figures(ranks, curve),
        symptoms={
            "tarp_p": float(joint["p"].iloc[0]),
            "coverage_90": float(sites["coverage_90"].mean()),
        },
    )


def _figures(ranks: Ranks, curve: pandas.DataFrame) -> dict[str, Drawing]:
    drawn = f"n = {len(ranks):,} images drawn from the model, {ranks.num_draws} draws of the guide"
    return {
        "ranks": Drawing(
            _draw_ranks(ranks),
            f"Simulation-based calibration: a line per dimension, {drawn} each. With an exact "
            "posterior all lines stay within the grey band in 95 of 100 runs; lines that leave it "
            "are orange. A line above 0: the guide's location is too high; below 0: too low; "
            "first above, then below: the guide is too narrow; first below, then above: the guide "
            "is too wide.",
        ),
        "rank_histogram": Drawing(
            _draw_histogram(ranks),
            f"The same ranks of all dimensions together, {drawn} each. High at both ends: the "
            f"guide is too narrow or biased; high in the middle: the guide is too wide.",
        ),
        "tarp": Drawing(
            _draw_coverage(curve),
            f"Expected coverage of all dimensions together (TARP), {drawn} each: the share of "
            f"images whose true latent vector lies in a ball of the guide's credibility around a "
            f"random point. With an exact posterior the line stays within the grey band in 95 of "
            f"100 runs. Below the band at high credibility: the guide is too narrow, or misses "
            f"correlations; above: too wide.",
        ),
    }


def _answer(table: pandas.DataFrame, count: int) -> str:
    other = table.index[table["p_joint"] < ALPHA]
    if not len(other):
        return (
            f"For {count:,} images drawn from the model, the ranks of all {len(table)} quantities "
            f"(dimensions, and log q) show no deviation from uniformity: smallest p = "
            f"{table['p'].min():.2g}, {table['p_joint'].min():.2g} with Bonferroni's correction."
        )
    return (
        f"For {count:,} images drawn from the model, the ranks of {len(other)} of {len(table)} "
        "quantities (dimensions, and log q) are not uniform, unlike those of an exact posterior "
        f"(chi-square test, joint level {ALPHA} by Bonferroni's correction); the largest "
        f"statistic is that of {table['chi_square'].idxmax()}."
    )


def _coverage(sites: pandas.DataFrame) -> str:
    ninety, fifty = sites["coverage_90"], sites["coverage_50"]
    return (
        f"The guide's 90% intervals contain the true latent in {ninety.mean():.0%} of cases (at "
        f"worst {ninety.min():.0%}, {ninety.idxmin()}), its 50% intervals in "
        f"{fifty.mean():.0%}; means over {len(sites)} dimensions."
    )


def _together(table: pandas.DataFrame) -> list[str]:
    if DENSITY not in table.index:
        return []
    bias = table.loc[DENSITY, "bias"]
    if table.loc[DENSITY, "p_joint"] >= ALPHA:
        return ["The true latent vectors are as probable under the guide as its own draws."]
    said = "less" if bias < 0 else "more"
    return [
        f"The true latent vectors are {said} probable under the guide than its own draws: their "
        f"mean rank by log q is {bias + 0.5:.0%} (50% is calibrated)."
    ]


def _tarp(joint: pandas.DataFrame, curve: pandas.DataFrame) -> str:
    p, off = float(joint["p"].iloc[0]), curve["coverage"] - curve["credibility"]
    far = curve.loc[off.abs().idxmax()]
    ninety = curve.loc[(curve["credibility"] - 0.9).abs().idxmin(), "coverage"]
    seen = "not shown to deviate from uniformity" if p >= ALPHA else "not uniform"
    small = f"p = {p:.2g}" if p >= 1e-16 else "p < 1e-16"
    return (
        f"All dimensions together (TARP): balls of 90% credibility around random points contain "
        f"the true latent vector in {ninety:.0%} of the images; coverage and credibility differ "
        f"most at {far['credibility']:.0%}, where the coverage is {far['coverage']:.0%}. The "
        f"ranks of the distances are {seen} (chi-square test, {small}, level {ALPHA})."
    )


def _draw_ranks(ranks: Ranks) -> Figure:
    """A line per dimension: its empirical distribution function minus that of uniform ranks."""
    figure, axes = panel(4)
    edges = np.arange(ranks.num_draws + 2)
    places, order = np.linspace(0, 1, len(edges)), np.sort(ranks.ranks, 0)
    lines = np.stack([np.searchsorted(column, edges) for column in order.T]) / len(ranks)
    lines, band = lines - places, ranks.band(ALPHA)
    outside = np.abs(lines).max(1) > band
    axes.fill_between(places, -band, band, color=PALE, lw=0)
    for line, out in sorted(zip(lines, outside, strict=True), key=lambda pair: pair[1]):
        axes.plot(places, line, color=WARNING if out else GUIDE, lw=1.2 if out else 0.8)
    far = [row for row in np.argsort(-np.abs(lines).max(1))[:3] if outside[row]]
    if far:
        names = ", ".join(ranks.names[row] for row in far)
        axes.set_title(f"largest deviations: {names}", fontsize=LABEL, loc="right")
    axes.axhline(0, color=INK, lw=1)
    name_axes(axes, ACROSS, "share of images with a lower rank,\nminus the expected share")
    return figure


def _draw_histogram(ranks: Ranks) -> Figure:
    """The ranks of all dimensions together: high ends mean too narrow, a high middle too wide."""
    figure, own = panel(3)
    shares = ranks.shares[:, [name != DENSITY for name in ranks.names]]
    height = np.histogram(shares, BINS, (0, 1))[0] * (BINS / shares.size)
    middles = (np.arange(BINS) + 0.5) / BINS
    own.bar(middles, height, 0.9 / BINS, color=GUIDE)
    own.axhline(1, color=INK, lw=1, ls="--")
    name_axes(own, ACROSS, "frequency,\nrelative to the expected")
    return figure


def _draw_coverage(curve: pandas.DataFrame) -> Figure:
    """The expected coverage of credible balls, from `Ranks.coverage`."""
    figure, own = panel(4)
    level, band = curve["credibility"], curve["band"]
    low, high = (level - band).clip(0, 1), (level + band).clip(0, 1)
    own.fill_between(level, low, high, color=PALE, lw=0, label="95% band of an exact posterior")
    own.plot([0, 1], [0, 1], color=INK, lw=1, ls="--", label="exact posterior")
    own.plot(level, curve["coverage"], color=GUIDE, lw=1.6, label="guide")
    own.set_xlim(0, 1)
    own.set_ylim(0, 1)
    across = "credibility of the ball (the guide's probability)"
    name_axes(own, across, "coverage (share of images\nwhose latents it contains)")
    return legend(figure, own)
