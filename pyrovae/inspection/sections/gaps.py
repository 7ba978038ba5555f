"""The gap between log p(x) and the ELBO, its parts, and the best spread of the guide."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyrovae.data import Split
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import UNRELIABLE
from pyrovae.inspection.gaps import gaps
from pyrovae.inspection.plotting import LABEL, legend, name_axes, panel, shorten
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.spread_sweep import Temperature, temperature
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import Axes, Figure, pandas
from pyrovae.utils.palette import FULL_RANK, GUIDE, GUIDE_LIGHT, INK, NEUTRAL

__all__ = ["section"]

PLACE = 50

#: Largest number of images for the sweep of the guide's spread.
TEMPERED = 200

#: Advice is given for gaps above this many nats, and above this share of the rate.
LARGE_GAP, LARGE_SHARE = 2.0, 0.2

#: Larger values of k-hat are drawn here: one outlier would compress the scale of all others.
FAR = 3.0

#: The sentence on a guide that is wide because of its objective.
WANTED = (
    " An objective of several particles, which trained this guide, prefers a wider guide than the "
    "ELBO does: for that objective the width may be right."
)


def section(subject: Subject) -> Section:
    """The gap of some images in nats, split in two, and the best spread for more images.

    The gap is that of the first images that the user gave, or else of images spread over the
    split.
    """
    chosen = _chosen(subject)
    x, inputs = subject.observed(chosen)
    budget = subject.budget
    with subject.quietly(1):
        draws = budget.importance_draws
        found = gaps(subject.space, x, inputs, steps=budget.steps, num_samples=draws)
    table = found.table.set_axis(list(chosen.names)).rename_axis("image")
    rate = float(subject.encoded.rate.mean())
    said = [_gap(table), *_parts(table), _reliability(table), *found.notes]
    answer = Section(
        "How far is the ELBO below log p(x)?",
        [*said, *_left_out(subject, table)],
        _remedies(table, rate),
        {"gaps": table},
        _figures(table, subject),
    )
    _add_temperature(answer, subject)
    return answer


def _chosen(subject: Subject) -> Split:
    most = subject.budget.refined
    if subject.given:
        return subject.shown.take(range(min(most, len(subject.shown))))
    return subject.split.spread(most)


def _figures(table: pandas.DataFrame, subject: Subject) -> dict[str, Drawing]:
    budget, count = subject.budget, len(table)
    where = subject.shown_where(count) if subject.given else subject.where(count)
    how = (
        f"for each image, {where}; {budget.importance_draws:,} draws per image and proposal, "
        f"{budget.steps:,} steps of refinement."
    )
    tails = "k-hat, the tail index of the importance weights from three proposals,"
    return {
        "gaps": Drawing(_draw_gaps(table), f"The gap between log p(x) and the ELBO {how}"),
        "reliability": Drawing(_draw_reliability(table), f"{tails} {how}"),
    }


def _left_out(subject: Subject, table: pandas.DataFrame) -> list[str]:
    """A sentence on how many of the given images were refined, unless all were."""
    if not subject.given or len(table) == len(subject.shown):
        return []
    return [f"Refinement takes long, so these are {subject.shown_where(len(table))}."]


def _gap(table: pandas.DataFrame) -> str:
    gap = Estimate.of(table["gap"])
    return (
        f"The ELBO is at least {_nats(gap)} below log p(x) on {_images(len(table))} "
        f"({table['gap'].min():,.2f} to {table['gap'].max():,.2f}). Importance sampling gives a "
        f"lower bound of log p(x) in expectation, so the true gap may be larger and is hardly "
        f"smaller."
    )


def _parts(table: pandas.DataFrame) -> list[str]:
    if table["amortisation_gap"].isna().any():
        return []
    amortisation, approximation = (
        Estimate.of(table[f"{name}_gap"]) for name in ("amortisation", "approximation")
    )
    lead = "the family does not contain the posterior"
    if amortisation.value / table["gap"].mean() > 0.5:
        lead = "the encoder does not find the best posterior of the family"
    found = [
        f"Refining the guide's own family for each image raises the ELBO by "
        f"{_nats(amortisation)} (amortisation gap); {_nats(approximation)} remain "
        f"(approximation gap). The larger cause: {lead}."
    ]
    if table["elbo_full_rank"].notna().all():
        won = Estimate.of(table["elbo_full_rank"] - table["elbo_own_family"])
        found.append(
            f"A Normal of full rank, refined likewise, has an ELBO that is higher by "
            f"{_nats(won)} than that of the refined guide."
        )
    return found


def _reliability(table: pandas.DataFrame) -> str:
    bad = int((~(table["k_hat"] <= UNRELIABLE)).sum())
    known = table["k_hat"].dropna()  # NaN with too few draws.
    typical = f"median {known.median():.2f}; " if len(known) else ""
    said = (
        f"k-hat of the guide's importance weights is above {UNRELIABLE} for {bad} of "
        f"{len(table)} images ({typical}median effective sample size {table['ess'].median():,.0f})"
    )
    if not bad:
        return f"{said}: the guide covers the posterior well enough to estimate log p(x) with it."
    said = f"{said}: there the guide misses mass of the posterior."
    other = table["k_hat_full_rank"].dropna().median()
    if math.isnan(other):
        return said
    return f"{said} With the refined Normals of full rank the median k-hat is {other:.2f}."


def _remedies(table: pandas.DataFrame, rate: float) -> list[str]:
    gap, amortisation = table["gap"].mean(), table["amortisation_gap"].mean()
    if not gap > max(LARGE_GAP, LARGE_SHARE * rate):
        return []
    if amortisation > gap / 2:
        return [
            "The amortisation gap is large: if training images have a far better ELBO, try more "
            "images; else try a larger encoder, or longer training with a falling learning rate. "
            "Do this before you try a richer family."
        ]
    if math.isnan(amortisation):
        return ["The gap is large: try a richer family, or a larger encoder."]
    return [
        "The approximation gap is large: try a richer family, such as FullRankNormal, "
        "LowRankNormal or InverseAutoregressiveFlow, or the IWAE objective."
    ]


def _add_temperature(answer: Section, subject: Subject) -> None:
    """Adds the ELBO of wider and narrower guides, on more images."""
    some = subject.split.spread(TEMPERED)
    try:
        table, found = temperature(subject.programs, some, subject.engine, seed=subject.seed)
    except InputError as reason:
        answer.says.append(f"It is unknown whether the guide is too wide: {reason}.")
        return
    answer.says.append(_width(found, subject.wide))
    answer.advice.extend(_width_remedies(found, subject.wide))
    answer.tables["temperature"] = table
    inside = None if math.isnan(found.factor_error) else found.factor
    answer.figures["temperature"] = Drawing(
        _draw_temperature(table, inside),
        f"The change of the ELBO, in nats per image, if the guide's standard deviations are "
        f"multiplied by a factor; {subject.where(len(some))}, the same draws for all factors; "
        f"bars: ± 2 standard errors over images.",
    )


def _width(found: Temperature, wide: bool) -> str:
    if not found.error < abs(found.effective_beta) / 2:
        return (
            "The guide's spread does not determine a weight on the rate: its latents hardly "
            "depend on the image, or the images are too few."
        )
    spread = f"{found.factor:.2f}"
    if not math.isnan(found.factor_error):
        spread = f"{spread} ± {found.factor_error:.2f}"
    beta, side = found.effective_beta, "as wide as the ELBO prefers"
    if _off(found):
        side = "too wide" if beta > 1 else "too narrow"
    return (
        f"The guide is {side}: the ELBO is highest if its standard deviations are multiplied by "
        f"{spread}, a gain of {found.gain:,.2f} nats. Its spread is optimal for a weight on the "
        f"rate of {beta:.2f} ± {found.error:.2f} (the ELBO has 1)."
    ) + (WANTED if wide and side == "too wide" else "")


def _off(found: Temperature) -> bool:
    """Whether the weight is far from 1, and significantly so."""
    far = not 0.8 < found.effective_beta < 1.25
    return far and abs(found.effective_beta - 1) > 3 * found.error


def _width_remedies(found: Temperature, wide: bool) -> list[str]:
    beta = found.effective_beta
    if not _off(found) or not found.error < beta / 2 or (beta > 1 and wide):
        return []
    if beta > 1:
        return [
            f"The guide is as wide as for beta {beta:.1f}: if beta was 1, train for longer; if it "
            f"was above 1, evaluate log p(x) with a guide refined at beta 1."
        ]
    return [
        f"The guide is as narrow as for beta {beta:.2f}: the cause is a beta below 1 or still "
        f"rising at the end of training; if beta was 1, train for longer."
    ]


def _images(count: int) -> str:
    return f"{count:,} images" if count > 1 else "1 image"


def _nats(estimate: Estimate) -> str:
    error = estimate.error
    if error is None or math.isnan(error):
        return f"{estimate.value:,.2f} nats"
    return f"{estimate.value:,.2f} ± {error:,.2f} nats"


def _draw_gaps(table: pandas.DataFrame) -> Figure:
    """A bar per image: its gap in nats, split if the guide's own family was refined.

    Args:
        table: from `gaps`, indexed by the names of the images.
    """
    figure, axes = _bars(table)
    rows = np.arange(len(table))
    if table["amortisation_gap"].notna().all():
        first = table["amortisation_gap"].clip(lower=0)
        rest = table["approximation_gap"].clip(lower=0)
        axes.barh(rows, first, color=GUIDE, label="amortisation gap")
        axes.barh(rows, rest, left=first, color=GUIDE_LIGHT, label="approximation gap")
    else:
        axes.barh(rows, table["gap"].clip(lower=0), color=NEUTRAL, label="gap, not split")
    name_axes(axes, "log p(x) - ELBO (nats)", str(table.index.name or "image"))
    return legend(figure, axes)


def _draw_reliability(table: pandas.DataFrame) -> Figure:
    """A row per image: k-hat of importance weights from each of the three proposals.

    Args:
        table: from `gaps`, indexed by the names of the images.
    """
    figure, axes = _bars(table)
    rows = np.arange(len(table))
    named = {"": "guide", "_own_family": "guide, refined", "_full_rank": "full rank, refined"}
    marks = zip(named.items(), (GUIDE, GUIDE_LIGHT, FULL_RANK), "sod", strict=True)
    for (column, label), colour, mark in marks:
        values = table[f"k_hat{column}"].replace(-np.inf, 0).clip(upper=FAR).to_numpy(float)
        axes.plot(values, rows, mark, color=colour, label=label)
    axes.axvline(UNRELIABLE, color=INK, lw=1, ls="--")
    axes.set_xlim(right=1.05 * FAR)
    across = f"k-hat (above {UNRELIABLE}, dashed: unreliable; above {FAR:g}: drawn at {FAR:g})"
    name_axes(axes, across, str(table.index.name or "image"))
    return legend(figure, axes)


def _bars(table: pandas.DataFrame) -> tuple[Figure, Axes]:
    """A figure with a named row per image, the first on top."""
    figure, own = panel(1.4 + 0.3 * max(2, len(table)))
    own.set_yticks(np.arange(len(table)), [shorten(str(name)) for name in table.index])
    own.set_ylim(len(table) - 0.4, -0.6)
    return figure, own


def _draw_temperature(table: pandas.DataFrame, best: float | None = None) -> Figure:
    """The change of the ELBO by the factor of the guide's spread, with two standard errors.

    Args:
        table: from `temperature`.
        best: the best factor.
    """
    figure, axes = panel(3.5)
    factors = table.index.to_numpy(float)
    how: dict[str, Any] = {"fmt": "o-", "color": GUIDE, "ms": 4, "capsize": 3}
    axes.errorbar(factors, table["gain"], 2 * table["gain_error"], **how)
    axes.axhline(0, color=NEUTRAL, lw=1)
    if best is not None:
        axes.axvline(best, color=INK, lw=1, ls="--")
        axes.set_title(f"best factor: {best:.2f} (dashed)", fontsize=LABEL, loc="right")
    axes.set_xscale("log")
    ticks = [factor for factor in factors if factor == 1 or abs(factor - 1) > 0.1]
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    name_axes(axes, "factor of the guide's standard deviations", "change of the ELBO (nats)")
    return figure
