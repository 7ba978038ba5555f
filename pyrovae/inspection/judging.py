"""The verdict on a run: asks every cause, ranks the findings, drops what others explain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pyrovae.inspection.causes import CAUSES
from pyrovae.inspection.judge import Evidence, Finding, Judgement, Options

__all__ = ["judge"]

#: A fault explains another finding away if it costs at least this share of the other's cost. A
#: possible improvement explains only smaller ones: the larger one is worth trying by itself.
ENOUGH = 0.28
#: A note on a verdict from weights alone.
UNSEEN = "The length of training is not judged without metrics.csv, or history= in Python."


def judge(evidence: Evidence) -> Judgement:
    """The verdict from all evidence.

    Every cause looks at the evidence. Findings are ranked by their cost, faults first; a fault of
    unknown cost is a fault of the data or of the weights, and comes first. A finding that a
    costlier one explains is dropped, and so is advice that the run follows already.

    Args:
        evidence: the measurements.

    Example:
        >>> str(judge(Evidence(dims=20, active=20, rate=60.0, epochs=9.0)))
        'No fault found: 20 of 20 latent dimensions are active and carry 60 nats per image.'
    """
    looked = (look(evidence) for look in CAUSES.values())
    found = _unexplained(
        [_without_followed(own, evidence.options) for own in looked if own is not None]
    )
    found.sort(key=lambda own: (not own.fault, -_size(own)))
    note = UNSEEN if math.isnan(evidence.epochs) else ""
    if evidence.is_below:
        return Judgement(tuple(found), _below(evidence, found), note)
    costs = "" if not found or found[0].fault else f"What may be improved: {_costs(found)}."
    return Judgement(tuple(found), _healthy(evidence), note, costs)


def _without_followed(finding: Finding, options: Options) -> Finding:
    """The finding without advice to set options that the run has already."""
    advice = tuple(own for own in finding.advice if not options.has(own.changes))
    return replace(finding, advice=advice)


def _unexplained(found: list[Finding]) -> list[Finding]:
    """The findings that no other explains.

    Of two that explain each other, the one that an option states stays, or the more general one.
    """
    kept = list(found)
    for own in sorted(found, key=lambda one: (not one.known, -len(one.explains))):
        if own in kept:
            kept = [other for other in kept if other is own or not _explains(own, other)]
    return kept


def _size(finding: Finding) -> float:
    unknown = math.inf if finding.fault else 0.0
    return unknown if math.isnan(finding.cost) else finding.cost


def _explains(first: Finding, second: Finding) -> bool:
    known = not (math.isnan(first.cost) or math.isnan(second.cost))
    enough = not known or first.cost >= (ENOUGH if first.fault else 1.0) * second.cost
    if second.known and not first.known:
        return False
    return second.cause in first.explains and first.fault >= second.fault and enough


def _costs(found: Sequence[Finding]) -> str:
    """The first two findings with their costs."""
    return "; ".join(f"{own.title[:1].lower()}{own.title[1:]} ({own.nats})" for own in found[:2])


def _below(evidence: Evidence, found: Sequence[Finding]) -> str:
    """The sentence on a run without a fault that is worse than a simpler model all the same."""
    # A finding of unknown cost does not explain these nats.
    known = [own for own in found if own.cost > 0]
    seen = f"no fault, but smaller costs: {_costs(known)}" if known else "no cause was found"
    return (
        f"The ELBO is {evidence.below:,.0f} nats (standard error {evidence.below_error:,.1f}) "
        f"below log p(x) of a simpler model, {evidence.simpler}; {seen}."
    )


def _healthy(evidence: Evidence) -> str:
    return (
        f"No fault found: {evidence.active} of {evidence.dims} latent dimensions are active and "
        f"carry {evidence.rate:,.0f} nats per image."
    )
