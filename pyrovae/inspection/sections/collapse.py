"""Has it collapsed?"""

from __future__ import annotations

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.latents import aggregate, codes
from pyrovae.inspection.collapse import Signs, dimension_table
from pyrovae.inspection.figures.collapse import rates
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject

__all__ = ["section"]


def section(subject: Subject) -> Section:
    """The rate by dimension, the verdict, the rate in its two parts."""
    import pandas

    verdict, signs = subject.verdict
    table = dimension_table(subject.encoded.only(subject.columns))
    parts = _parts(subject)
    rows = [(name, found.value, found.error) for name, found in parts.items()]
    drawing = Drawing(
        rates(table),
        f"Above: rate of each dimension in nats an image (grey: not active, bars ± 2 standard "
        f"errors), and the share of all that it and larger ones carry. Below: variance of the "
        f"aggregate posterior. {subject.where()}.",
    )
    return Section(
        "Has it collapsed?",
        [f"Verdict: {verdict}.", *verdict.reasons, *_said(parts, signs)],
        verdict.advice,
        {
            "signs": signs.table(),
            "dimensions": table.reset_index(),
            "information": pandas.DataFrame(rows, columns=["quantity", "nats", "error"]),
        },
        {"rates": drawing},
    )


def _parts(subject: Subject) -> dict[str, Estimate]:
    """The rate, and the two parts that it has."""
    found = codes(subject.programs, subject.split, subject.engine, seed=subject.seed)
    parts = aggregate(
        subject.programs,
        subject.split,
        subject.engine,
        found,
        seed=subject.seed,
        progress=subject.progress,
    )
    return {"rate": Estimate.of(subject.encoded.rate), **parts}


def _said(parts: dict[str, Estimate], signs: Signs) -> list[str]:
    information, limit = parts["mutual_information"].value, parts["limit"].value
    rate, rest = parts["rate"].value, parts["aggregate_kl"].value
    carriers = f"{signs.carriers} of {signs.dims} dimensions carry 95 % of the rate."
    if information > limit - 0.5:
        return [
            f"The latents tell these images apart: I(x; z) is {information:.1f} nats, all that so "
            f"few images allow ({limit:.1f}). How much of the rate of {rate:,.1f} nats is the "
            "divergence of the aggregate posterior from the prior, only more images would show.",
            carriers,
        ]
    return [
        f"Of the rate of {rate:,.1f} nats an image, {information:,.1f} tell images apart "
        f"(I(x; z), at most {limit:.1f} with so many images); the other {rest:,.1f} are the "
        "divergence of the aggregate posterior from the prior.",
        carriers,
    ]
