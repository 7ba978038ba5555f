"""Simulation-based calibration: ranks of the true latents among draws of the guide."""

from __future__ import annotations

import numpy as np

from pyrovae.inspection.calibration import DENSITY, Ranks, ranks_of_truth
from pyrovae.inspection.plotting import LABEL, name_axes, panel
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import sites_said
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import GUIDE, INK, PALE, WARNING

__all__ = ["section"]

PLACE = 70

ACROSS = "rank of the true latent among the guide's draws (share)"

#: The false-alarm rate of all tests together.
ALPHA = 0.05

#: Advice is given if the mean rank by log q is this far below a half.
JOINTLY = 0.1

#: The last sentence of the answer.
MEANING = (
    "This test uses images drawn from the model, since only their latents are known. If they look "
    "unlike the data, a guide that was trained on data may be worse for them than for the data."
)


def section(subject: Subject) -> Section:
    """The ranks of the true latents among the guide's draws, for images drawn from the model.

    Args:
        subject: what is inspected; the dimensions of its sites are tested.

    Raises:
        InputError: if a site is unknown, or there are too few draws.
    """
    columns = subject.columns
    z, inputs = subject.prior_draws(subject.budget.draws)
    with subject.quietly(2):
        ranks = ranks_of_truth(subject.space, z, inputs).only(columns)
    table = ranks.table()
    sites = table.drop(index=DENSITY, errors="ignore")
    said = [_answer(table, len(ranks)), _coverage(sites), *_together(table)]
    return Section(
        "Is the guide's uncertainty calibrated?",
        [*said, *sites_said(subject, "draws of images, and log q, are"), MEANING],
        _remedies(table, sites, subject.wide),
        {"calibration": table},
        _figures(ranks),
    )


def _figures(ranks: Ranks) -> dict[str, Drawing]:
    drawn = f"n = {len(ranks):,} images drawn from the model, {ranks.num_draws} draws of the guide"
    lines = (
        f"Simulation-based calibration: a line per dimension, {drawn} each. With an exact "
        f"posterior all lines stay within the grey band in 95 of 100 runs; lines that leave it "
        f"are orange. A line above 0: the guide's location is too high; below 0: too low; first "
        f"above, then below: the guide is too narrow; first below, then above: too wide."
    )
    bars = (
        f"The same ranks of all dimensions together, {drawn} each. High at both ends: the guide "
        f"is too narrow or biased; high in the middle: the guide is too wide."
    )
    histogram = Drawing(_draw_histogram(ranks), bars)
    return {"ranks": Drawing(_draw_ranks(ranks, ALPHA), lines), "rank_histogram": histogram}


def _answer(table: pandas.DataFrame, count: int) -> str:
    wrong = table.index[table["p_joint"] < ALPHA]
    if not len(wrong):
        return (
            f"The guide is calibrated as far as {count:,} images drawn from the model show: the "
            f"ranks of all {len(table)} quantities are uniform (smallest p = "
            f"{table['p'].min():.2g}, {table['p_joint'].min():.2g} with Bonferroni's correction)."
        )
    return (
        f"The guide is not the posterior: for images drawn from the model the ranks of "
        f"{len(wrong)} of {len(table)} quantities (dimensions, and log q) are not uniform "
        f"(chi-square test, joint level {ALPHA} by Bonferroni's correction); the largest "
        f"statistic is that of {table['chi_square'].idxmax()}."
    )


def _coverage(sites: pandas.DataFrame) -> str:
    ninety, fifty = sites["coverage_90"], sites["coverage_50"]
    return (
        f"The guide's 90 % intervals contain the true latent in {ninety.mean():.0%} of cases (at "
        f"worst {ninety.min():.0%}, {ninety.idxmin()}), its 50 % intervals in "
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
        f"mean rank by log q is {bias + 0.5:.0%} (50 % is calibrated)."
    ]


def _remedies(table: pandas.DataFrame, sites: pandas.DataFrame, wide: bool) -> list[str]:
    if (table["p_joint"] >= ALPHA).all():
        return []
    ninety = sites["coverage_90"].mean()
    if ninety < 0.8:
        return [
            f"90 % intervals contain the true latent in {ninety:.0%} of cases: do not use the "
            f"guide's widths as uncertainty. Section gaps shows whether to improve the encoder or "
            f"the family; for single images use importance sampling or MCMC."
        ]
    if ninety > 0.95:
        why = "its objective of several particles" if wide else "a weight on the rate above 1"
        return [
            f"90 % intervals contain the true latent in {ninety:.0%} of cases: the guide is wider "
            f"than the posterior, which is the effect of {why}."
        ]
    if DENSITY in table.index and table.loc[DENSITY, "bias"] < -JOINTLY:
        return [
            "The guide's widths are about right in each dimension, but not jointly: a family with "
            "correlations may help, such as FullRankNormal."
        ]
    return []


def _draw_ranks(ranks: Ranks, alpha: float = 0.05) -> Figure:
    """A line per dimension: its empirical distribution function minus that of uniform ranks.

    Args:
        ranks: of the true latents.
        alpha: the false-alarm rate of the band, for all lines together.
    """
    figure, axes = panel(4)
    edges = np.arange(ranks.num_draws + 2)
    places, order = np.linspace(0, 1, len(edges)), np.sort(ranks.ranks, 0)
    lines = np.stack([np.searchsorted(column, edges) for column in order.T]) / len(ranks)
    lines, band = lines - places, ranks.band(alpha)
    outside = np.abs(lines).max(1) > band
    axes.fill_between(places, -band, band, color=PALE, lw=0)
    for line, out in sorted(zip(lines, outside, strict=True), key=lambda pair: pair[1]):
        axes.plot(places, line, color=WARNING if out else GUIDE, lw=1.2 if out else 0.8)
    far = [row for row in np.argsort(-np.abs(lines).max(1))[:3] if outside[row]]
    if far:
        names = ", ".join(ranks.names[row] for row in far)
        axes.set_title(f"largest deviations: {names}", fontsize=LABEL, loc="right")
    axes.axhline(0, color=INK, lw=1)
    name_axes(axes, ACROSS, "share of images of a lower rank,\nminus the expected share")
    return figure


def _draw_histogram(ranks: Ranks, bins: int = 20) -> Figure:
    """The ranks of all dimensions together: high ends mean too narrow, a high middle too wide.

    Args:
        ranks: of the true latents.
        bins: of the histogram.
    """
    figure, own = panel(3)
    shares = ranks.shares[:, [name != DENSITY for name in ranks.names]]
    height = np.histogram(shares, bins, (0, 1))[0] * (bins / shares.size)
    middles = (np.arange(bins) + 0.5) / bins
    own.bar(middles, height, 0.9 / bins, color=GUIDE)
    own.axhline(1, color=INK, lw=1, ls="--")
    name_axes(own, ACROSS, "frequency,\nrelative to the expected")
    return figure
