"""The gap between log p(x) and the ELBO, its parts, and the best spread of the guide."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyrovae.data import Split
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import UNRELIABLE
from pyrovae.inspection.gaps import gaps
from pyrovae.inspection.plotting import shorten
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.spread_sweep import Spread
from pyrovae.inspection.subject import SWEPT, Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import Axes, Figure, pandas
from pyrovae.utils.palette import FULL_RANK, GUIDE, GUIDE_LIGHT, INK, NEUTRAL
from pyrovae.utils.plotting import LABEL, legend, name_axes, panel
from pyrovae.utils.text import counted

__all__ = ["section"]

PLACE = 50


#: Larger values of k-hat are drawn here: one outlier would compress the scale of all others.
FAR = 3.0

#: The sentence on a guide that is wide because of its objective.
WANTED = (
    " The objective of this guide has several particles; its optimal guide is wider than that of "
    "the ELBO."
)

#: Rounds of refinement that take as many steps as the chains of the budget.
ROUNDS = 4

#: What each table shows.
CAPTIONS = {
    "gaps": "ELBO, log p(x) and gaps per image, in nats",
    "spread": "ELBO per factor on the guide's spread, in nats",
}


def section(subject: Subject) -> Section:
    """The gap between log p(x) and the ELBO, split in two parts, and the guide's best spread.

    The gap is that of the first images that the user gave, or else of images spread over the
    split.
    """
    chosen = _chosen(subject)
    x, inputs = subject.observed(chosen)
    budget = subject.budget
    with subject.quietly(1):
        how = {"num_samples": budget.importance_draws, "starts": budget.starts}
        found = gaps(subject.space, x, inputs, steps=_steps(subject), **how)
    table = found.table.set_axis(list(chosen.names)).rename_axis("image")
    said = [_gap(table), *_parts(table), _reliability(table), _missed(table, subject)]
    said += found.notes
    answer = Section(
        "How far is the ELBO below log p(x)?",
        [*said, *_left_out(subject, table)],
        tables={"gaps": table},
        captions=CAPTIONS,
        figures=_figures(table, subject),
        symptoms=_symptoms(table),
    )
    _add_spread(answer, subject)
    return answer


def _steps(subject: Subject) -> int:
    """The steps of one round of refinement."""
    return subject.budget.steps // ROUNDS


def _symptoms(table: pandas.DataFrame) -> dict[str, float]:
    """Means over images in nats, with standard errors; what is unknown is left out."""
    parts = {n: Estimate.of(table[f"{n}_gap"]) for n in ("amortisation", "approximation")}
    found = {name: own.value for name, own in parts.items()}
    largest = max(parts.values(), key=lambda own: own.value)
    found["gap_error"] = math.nan if largest.error is None else largest.error
    known = table[table["missed_error"].notna()] if "missed_mode" in table else table[:0]
    if len(known):  # Weights with a heavy tail have no error.
        found["missed_mode"] = float(known["missed_mode"].mean())
        found["missed_error"] = math.hypot(*known["missed_error"]) / len(known)
    return found


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
        f"rounds of {_steps(subject):,} steps of refinement."
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
    return [f"Refinement takes long, so these results are for {subject.shown_where(len(table))}."]


def _gap(table: pandas.DataFrame) -> str:
    gap = Estimate.of(table["gap"])
    return (
        f"The ELBO is at least {_nats(gap)} below log p(x) on {counted(len(table), 'image')} "
        f"(single images: {table['gap'].min():,.2f} to {table['gap'].max():,.2f}). Importance "
        "sampling gives a lower bound of log p(x) in expectation, so the true gap is probably at "
        "least this large."
    )


def _parts(table: pandas.DataFrame) -> list[str]:
    if table["amortisation_gap"].isna().any():
        return []
    amortisation = Estimate.of(table["amortisation_gap"])
    approximation = Estimate.of(table["approximation_gap"])
    larger = "amortisation" if amortisation.value > approximation.value else "approximation"
    found = [
        f"Refining the guide's own family for each image raises the ELBO by "
        f"{_nats(amortisation)} (amortisation gap); {_nats(approximation)} remain "
        f"(approximation gap). The larger part is the {larger} gap. A longer refinement can only "
        f"shift a part of the approximation gap to the amortisation gap."
    ]
    if table["elbo_full_rank"].notna().all():
        won = Estimate.of(table["elbo_full_rank"] - table["elbo_own_family"])
        found.append(
            "The ELBO of a Normal of full rank, refined in the same way, minus that of the "
            f"refined guide is {_nats(won)}."
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
    other = table["k_hat_full_rank"].dropna().median()
    if bad and not math.isnan(other):
        said = f"{said}. With the refined Normals of full rank the median k-hat is {other:.2f}"
    return (
        f"{said}. Both use draws near the guide, so they cannot show a mode that the guide misses."
    )


def _missed(table: pandas.DataFrame, subject: Subject) -> str:
    """What the search for missed modes found."""
    if "missed_mode" not in table:
        return (
            "There was no search for modes that the guide misses: it needs Normals of full rank."
        )
    more = table[table["modes"] > 0]
    said = (
        f"Gradient ascent from {subject.budget.starts} draws of the prior per image searched for "
        f"such modes: {table['reached'].mean():.0%} of the starts ended in the guide's mode"
    )
    limits = "In many dimensions some starts do not find every mode."
    if not len(more):
        return f"{said}, and none in another mode with as much mass. {limits}"
    sides = Estimate.of(more["log_evidence"]), Estimate.of(more["log_evidence"] + more.missed_mode)
    noise = math.sqrt(np.square(more["missed_error"].to_numpy(float)).sum()) / len(more)
    gain = _nats(Estimate(sides[1].value - sides[0].value, noise))
    unknown = ", of unknown error since k-hat is high" if math.isnan(noise) else ""
    return (
        f"{said}, and for {counted(len(more), 'image')} some ended elsewhere. With Normals at "
        f"these points, log p(x) of {'these images' if len(more) > 1 else 'this image'} is "
        f"{sides[1].value:,.2f} nats, and {sides[0].value:,.2f} nats from draws near the guide: "
        f"{gain} more{unknown} (both are lower bounds in expectation). {limits}"
    )


def _add_spread(answer: Section, subject: Subject) -> None:
    """Adds the ELBO of wider and narrower guides, on more images."""
    some = subject.split.spread(SWEPT)
    try:
        table, found = subject.swept
    except InputError as reason:
        answer.says.append(f"It is unknown whether the guide is too wide: {reason}.")
        return
    answer.says.append(_width(found, subject.wide))
    answer.tables["spread"] = table
    inside = None if math.isnan(found.factor_error) else found.factor
    answer.figures["spread"] = Drawing(
        _draw_spread(table, inside),
        f"The change of the ELBO, in nats per image, if the guide's standard deviations are "
        f"multiplied by a factor; {subject.where(len(some))}, the same draws for all factors; "
        f"bars: ± 2 standard errors over images.",
    )


def _width(found: Spread, wide: bool) -> str:
    if not found.error < abs(found.effective_beta) / 2:
        return (
            "The guide's spread does not determine a weight on the rate: its latents hardly "
            "depend on the image, or there are too few images."
        )
    beta = found.effective_beta
    factor = f"{found.factor:.2f} ± {found.factor_error:.2f}"
    if math.isnan(found.factor_error):  # The limit of the factors that are tried.
        factor = f"{'at least' if found.factor > 1 else 'at most'} {found.factor:.3g}"
    return (
        f"The ELBO is highest if the guide's standard deviations are multiplied by {factor}, a "
        f"gain of {found.gain:,.2f} nats. The guide's spread is optimal for a weight on the rate "
        f"of {beta:.2f} ± {found.error:.2f} (the ELBO has 1)."
    ) + WANTED * (wide and beta > 1)


def _nats(estimate: Estimate) -> str:
    return f"{estimate:,.2f} nats"


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
        values = table[f"k_hat{column}"].clip(upper=FAR).to_numpy(float)
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


def _draw_spread(table: pandas.DataFrame, best: float | None = None) -> Figure:
    """The change of the ELBO by the factor of the guide's spread, with two standard errors.

    Args:
        table: from `sweep_spread`.
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
