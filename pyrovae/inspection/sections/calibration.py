"""Whether the guide's uncertainty is right, where the truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrovae.inspection.calibration import DENSITY, Ranks, ranks_of_truth
from pyrovae.inspection.figures.calibration import draw_rank_histogram, draw_ranks
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import sites_said
from pyrovae.inspection.subject import Subject

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 70

#: The rate of false alarms of all tests together.
ALPHA = 0.05

#: How far below a half the mean rank by log q is worth a remedy.
JOINTLY = 0.1


def section(subject: Subject) -> Section:
    """The ranks of latents among the guide's draws, for images drawn from the model.

    Args:
        subject: what is inspected; of the dimensions those of its sites are tested.

    Raises:
        InputError: if there is no such site, or there are too few draws.
    """
    columns = subject.columns
    z, inputs = subject.prior_draws(subject.effort.draws)
    with subject.quietly(2):
        ranks = ranks_of_truth(subject.space, z, inputs).only(columns)
    table = ranks.table()
    sites = table.drop(index=DENSITY, errors="ignore")
    return Section(
        "Is the guide's uncertainty right for images of the model?",
        [
            _answer(table, len(ranks)),
            _coverage(sites),
            *_together(table),
            *sites_said(subject, "draws of images, and log q, are"),
            _meaning(),
        ],
        _remedies(table, sites, subject.wide),
        {"calibration": table},
        _figures(ranks),
    )


def _figures(ranks: Ranks) -> dict[str, Drawing]:
    drawn = f"n = {len(ranks):,} images drawn from the model, {ranks.num_draws} draws of the guide"
    return {
        "ranks": Drawing(
            draw_ranks(ranks, ALPHA),
            f"Simulation-based calibration: a line a dimension, {drawn} each. Lines of an "
            f"exact posterior all stay within the grey band in 95 of 100 runs; those that "
            f"leave it are orange. Above 0 the guide lies too high, below too low; first "
            f"above, then below: too narrow; first below, then above: too wide.",
        ),
        "rank_histogram": Drawing(
            draw_rank_histogram(ranks),
            f"The same ranks, all dimensions together, {drawn} each. High at both ends: the "
            f"guide is too narrow or off; high in the middle: too wide.",
        ),
    }


def _answer(table: pandas.DataFrame, count: int) -> str:
    wrong = table.index[table["p_joint"] < ALPHA]
    if not len(wrong):
        return (
            f"The guide is calibrated as far as {count:,} images drawn from the model tell: no "
            f"rank of {len(table)} departs from uniform (least p {table['p'].min():.2g}, "
            f"{table['p_joint'].min():.2g} for all together)."
        )
    return (
        f"The guide is not the posterior: for images drawn from the model the ranks of "
        f"{len(wrong)} of {len(table)} quantities (dimensions, and log q) are not uniform at a "
        f"joint level of {ALPHA} (chi-square, Bonferroni); the farthest is "
        f"{table['chi_square'].idxmax()}."
    )


def _coverage(sites: pandas.DataFrame) -> str:
    ninety, fifty = sites["coverage_90"], sites["coverage_50"]
    return (
        f"Intervals that the guide gives 90 % hold the truth in {ninety.mean():.0%} of cases "
        f"({ninety.idxmin()}: {ninety.min():.0%}), those of 50 % in {fifty.mean():.0%}; a mean "
        f"over {len(sites)} dimensions."
    )


def _together(table: pandas.DataFrame) -> list[str]:
    if DENSITY not in table.index:
        return []
    bias = table.loc[DENSITY, "bias"]
    if table.loc[DENSITY, "p_joint"] >= ALPHA:
        return ["All dimensions together, the truth is as probable under the guide as its draws."]
    said = "less" if bias < 0 else "more"
    return [
        f"All dimensions together, the truth is {said} probable under the guide than its own "
        f"draws: its mean rank by log q is {bias + 0.5:.0%}, and would be 50 %."
    ]


def _meaning() -> str:
    return (
        "Images drawn from the model stand in for data here, since only their latents are known: "
        "where they look unlike data, a guide trained on data may be worse for them than for "
        "data."
    )


def _remedies(table: pandas.DataFrame, sites: pandas.DataFrame, wide: bool) -> list[str]:
    if (table["p_joint"] >= ALPHA).all():
        return []
    ninety = sites["coverage_90"].mean()
    if ninety < 0.8:
        return [
            f"Intervals of 90 % hold {ninety:.0%}: do not use the guide's widths as uncertainty. "
            f"Section gaps says whether the encoder or the family is to mend; importance sampling "
            f"or MCMC mend single images."
        ]
    if ninety > 0.95:
        why = "its objective of several particles" if wide else "a weight on the rate above 1"
        return [
            f"Intervals of 90 % hold {ninety:.0%}: the guide is wider than the posterior, as "
            f"{why} makes it."
        ]
    if DENSITY in table.index and table.loc[DENSITY, "bias"] < -JOINTLY:
        return [
            "The guide's widths are about right in single dimensions and wrong in all together: a "
            "family that knows correlations may help, such as FullRankNormal."
        ]
    return []
