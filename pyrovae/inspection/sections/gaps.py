"""How far the ELBO lies below log p(x), whose fault that is, and how wide the guide is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyrovae.data import Split
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import UNRELIABLE
from pyrovae.inspection.figures.gaps import draw_gaps, draw_reliability, draw_temperature
from pyrovae.inspection.gaps import gaps
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.tempering import Temperature, temperature
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 50

#: Images whose guide is made wider and narrower.
TEMPERED = 200

#: Gaps are worth a remedy above so many nats, and above that share of the rate.
LARGE_GAP, LARGE_SHARE = 2.0, 0.2

#: What is said of a wide guide that was trained to be one.
WANTED = (
    " An objective of several particles, as it was trained for, wants it to cover more than the "
    "ELBO does: for that one the width may be right."
)


def section(subject: Subject) -> Section:
    """How wrong the guide is, in nats: for some images in parts, for more by its spread.

    The parts are those of the first images that the user gave, or else of images spread over the
    split.
    """
    chosen = _chosen(subject)
    x, inputs = subject.observed(chosen)
    with subject.quietly(1):
        found = gaps(
            subject.space,
            x,
            inputs,
            steps=subject.effort.steps,
            num_samples=subject.effort.importance_draws,
        )
    table = found.table.set_axis(list(chosen.names)).rename_axis("image")
    rate = float(subject.encoded.rate.mean())
    answer = Section(
        "How far does the guide keep the ELBO below log p(x)?",
        [
            _gap(table),
            *_parts(table),
            _reliability(table),
            *found.notes,
            *_left_out(subject, table),
        ],
        _remedies(table, rate),
        {"gaps": table},
        _figures(table, subject),
    )
    _add_temperature(answer, subject)
    return answer


def _chosen(subject: Subject) -> Split:
    most = subject.effort.refined
    if subject.given:
        return subject.shown.take(range(min(most, len(subject.shown))))
    return subject.split.spread(most)


def _figures(table: pandas.DataFrame, subject: Subject) -> dict[str, Drawing]:
    return {
        "gaps": Drawing(draw_gaps(table), _caption("The gap in nats", subject, len(table))),
        "reliability": Drawing(
            draw_reliability(table),
            _caption("The tail of the importance weights", subject, len(table)),
        ),
    }


def _caption(what: str, subject: Subject, count: int) -> str:
    effort, where = subject.effort, subject.where(count)
    if subject.given:
        where = subject.shown_where(count)
    return (
        f"{what} of each image, {where}; {effort.importance_draws:,} draws an "
        f"image and guide, {effort.steps:,} steps of refinement."
    )


def _left_out(subject: Subject, table: pandas.DataFrame) -> list[str]:
    """Which of the images that the user gave there was no time for."""
    if not subject.given or len(table) == len(subject.shown):
        return []
    return [f"Refinement takes long: these are {subject.shown_where(len(table))}."]


def _gap(table: pandas.DataFrame) -> str:
    gap = Estimate.of(table["gap"])
    return (
        f"log p(x) of {_images(len(table))} is at least {_nats(gap)} above the ELBO: so much "
        f"the guide costs ({table['gap'].min():,.2f} to {table['gap'].max():,.2f}). Importance "
        f"sampling gives lower bounds in expectation: the gap may be larger, hardly smaller."
    )


def _parts(table: pandas.DataFrame) -> list[str]:
    if table["amortisation_gap"].isna().any():
        return []
    amortisation, approximation = (
        Estimate.of(table[f"{name}_gap"]) for name in ("amortisation", "approximation")
    )
    share = amortisation.value / table["gap"].mean()
    lead = (
        "the networks of the guide do not find the best posterior of their family"
        if share > 0.5
        else "the family does not hold the posterior"
    )
    found = [
        f"Refined for each image, the guide's own family wins {_nats(amortisation)} (amortisation "
        f"gap); what is left is {_nats(approximation)} (approximation gap). Mainly, {lead}."
    ]
    if table["elbo_full_rank"].notna().all():
        won = Estimate.of(table["elbo_full_rank"] - table["elbo_own_family"])
        found.append(
            f"A Normal with a full covariance matrix wins {_nats(won)} over the best of the "
            f"guide's family."
        )
    return found


def _reliability(table: pandas.DataFrame) -> str:
    bad = int((~(table["k_hat"] <= UNRELIABLE)).sum())
    known = table["k_hat"].dropna()  # It takes some draws to see a tail.
    typical = f"median {known.median():.2f}; " if len(known) else ""
    said = (
        f"k-hat of the guide's importance weights is above {UNRELIABLE} for {bad} of "
        f"{len(table)} images ({typical}effective draws {table['ess'].median():,.0f})"
    )
    if not bad:
        return f"{said}: the guide covers the posterior well enough to estimate log p(x) with it."
    missing = table["k_hat_full_rank"].dropna().median()
    other = (
        ""
        if math.isnan(missing)
        else f" From the Normals of full rank the median is {missing:.2f}."
    )
    return f"{said}: there the guide misses mass of the posterior.{other}"


def _remedies(table: pandas.DataFrame, rate: float) -> list[str]:
    gap, amortisation = table["gap"].mean(), table["amortisation_gap"].mean()
    found = []
    if gap > max(LARGE_GAP, LARGE_SHARE * rate):
        if amortisation > gap / 2:
            found.append(
                "The amortisation gap is large: try more images, if training images have a far "
                "better ELBO, else a larger encoder or longer training with a falling learning "
                "rate; a richer family would not help first."
            )
        elif not math.isnan(amortisation):
            found.append(
                "The approximation gap is large: try a richer family, such as FullRankNormal, "
                "LowRankNormal or InverseAutoregressiveFlow, or the IWAE objective."
            )
        else:
            found.append("The gap is large: try a richer family, or a larger encoder.")
    return found


def _add_temperature(answer: Section, subject: Subject) -> None:
    """What the ELBO would be with wider and narrower guides, for more images."""
    some = subject.split.spread(TEMPERED)
    try:
        table, found = temperature(subject.programs, some, subject.engine, seed=subject.seed)
    except InputError as reason:
        answer.says.append(f"Whether the guide is too wide is not known: {reason}.")
        return
    answer.says.append(_width(found, subject.wide))
    answer.advice.extend(_width_remedies(found, subject.wide))
    answer.tables["temperature"] = table
    inside = None if math.isnan(found.factor_error) else found.factor
    answer.figures["temperature"] = Drawing(
        draw_temperature(table, inside),
        f"What the ELBO would gain, in nats per image, if draws of the guide lay so many times "
        f"as far from its mean; {subject.where(len(some))}, the same draws for all factors; bars "
        f"are two standard errors over images.",
    )


def _width(found: Temperature, wide: bool) -> str:
    if not found.error < abs(found.effective_beta) / 2:
        return (
            "The guide's spread tells no weight on the rate: its latents hardly depend on the "
            "image, or the images are too few."
        )
    spread = f"{found.factor:.2f}"
    if not math.isnan(found.factor_error):
        spread = f"{spread} ± {found.factor_error:.2f}"
    beta, side = found.effective_beta, "as wide as the ELBO wants it"
    if _off(found):
        side = "too wide" if beta > 1 else "too narrow"
    return (
        f"The guide is {side}: the ELBO is highest with its standard deviations times {spread}, "
        f"{found.gain:,.2f} nats above. Its spread is the best one for a weight on the rate of "
        f"{beta:.2f} ± {found.error:.2f} (1 is the ELBO's)."
    ) + (WANTED if wide and side == "too wide" else "")


def _off(found: Temperature) -> bool:
    """Whether the weight is far from 1, and that is no chance."""
    far = not 0.8 < found.effective_beta < 1.25
    return far and abs(found.effective_beta - 1) > 3 * found.error


def _width_remedies(found: Temperature, wide: bool) -> list[str]:
    if not _off(found) or not found.error < found.effective_beta / 2:
        return []
    if found.effective_beta > 1 and wide:
        return []
    if found.effective_beta > 1:
        return [
            f"The guide is as wide as for beta {found.effective_beta:.1f}: if beta was 1, train "
            f"longer; if it was above, evaluate log p(x) with a guide refined at beta 1."
        ]
    return [
        f"The guide is as narrow as for beta {found.effective_beta:.2f}: if beta was below 1 or "
        f"still rising when training ended, that is why; if it was 1, train longer."
    ]


def _images(count: int) -> str:
    return f"{count:,} images" if count > 1 else "1 image"


def _nats(estimate: Estimate) -> str:
    error = estimate.error
    if error is None or math.isnan(error):
        return f"{estimate.value:,.2f} nats"
    return f"{estimate.value:,.2f} ± {error:,.2f} nats"
