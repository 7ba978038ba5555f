"""Has it collapsed?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.latents import SATURATED, aggregate, codes
from pyrovae.inspection.collapse import dimension_table
from pyrovae.inspection.diagnosis import PRIOR_DRAWS
from pyrovae.inspection.figures.collapse import rates
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 10


def section(subject: Subject) -> Section:
    """The rate by dimension, the verdict, the rate in its two parts."""
    verdict, signs = subject.verdict
    spread = subject.prior_draws(PRIOR_DRAWS)[0].cpu().numpy().var(0)[subject.columns]
    table = dimension_table(subject.encoded.only(subject.columns), spread)
    said = (
        "Above: rate of each dimension in nats an image (grey: not active, bars ± 2 standard "
        "errors), and the share of all that it and larger ones carry. Below: variance of the "
        f"aggregate posterior. {subject.where()}."
    )
    tables = {"signs": signs.table(), "dimensions": table}
    carriers = f"{signs.carriers} of {signs.dims} dimensions carry 95 % of the rate."
    try:
        parts = _parts(subject)
    except NotImplementedError:
        also = "What of the rate tells images apart is not known: the guide has no density."
    else:
        also = _said(parts, bool(subject.programs.attributes))
        tables["information"] = _information(parts)
    return Section(
        "Has it collapsed?",
        [f"Verdict on collapse and regularisation: {verdict}.", *verdict.reasons, also, carriers],
        verdict.advice,
        tables,
        {"rates": Drawing(rates(table), said)},
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


def _at_limit(parts: dict[str, Estimate]) -> bool:
    """Whether more images would tell more of the mutual information."""
    return parts["mutual_information"].value > parts["limit"].value - SATURATED


def _information(parts: dict[str, Estimate]) -> pandas.DataFrame:
    import pandas

    bounds = {"mutual_information": "at least", "aggregate_kl": "at most"}
    rows = []
    for name, found in parts.items():
        error = None if name in bounds and _at_limit(parts) else found.error
        rows.append((name, bounds.get(name, ""), found.value, error))
    return pandas.DataFrame(rows, columns=["quantity", "bound", "nats", "error"])


def _said(parts: dict[str, Estimate], given: bool) -> str:
    information, limit = parts["mutual_information"].value, parts["limit"].value
    rate, rest = parts["rate"].value, parts["aggregate_kl"].value
    if given:
        said = (
            f"Of a rate of {rate:,.1f} nats, and with what attributes tell, I(x; z) is at least "
            f"{information:.1f} nats, where so many images allow {limit:.1f}."
        )
        if math.isnan(rest):
            return said
        return f"{said} The aggregate posterior is {rest:,.1f} nats at most from the mean prior."
    if _at_limit(parts):
        return (
            f"The latents tell these images apart: I(x; z) is at least {information:.1f} nats, "
            f"near what so few images allow at all ({limit:.1f}). How much of the rate of "
            f"{rate:,.1f} nats is the divergence of the aggregate posterior from the prior, only "
            "more images would show."
        )
    return (
        f"Of the rate of {rate:,.1f} nats an image, at least {information:,.1f} tell images apart "
        f"(I(x; z), {limit:.1f} at most with so many images); the other {rest:,.1f} at most are "
        "the divergence of the aggregate posterior from the prior."
    )
