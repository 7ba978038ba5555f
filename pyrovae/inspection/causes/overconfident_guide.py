"""The guide's intervals hold the true latents too rarely."""

from __future__ import annotations

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding
from pyrovae.inspection.judge.limits import COVERED, LEVEL

__all__ = ["look"]


def look(evidence: Evidence) -> Finding | None:
    """Intervals of images drawn from the model miss the latents that the images come from.

    It is never a fault: the gaps cost what they cost, and are faults of their own. But the guide's
    widths must not be used as they are.
    """
    if not evidence.tarp_p < LEVEL or not evidence.coverage_90 < COVERED:
        return None
    gaps = [own for own in (evidence.amortisation, evidence.approximation) if own > 0]
    reason = (
        f"For images drawn from the model, the guide's 90% intervals hold the true latents in "
        f"{evidence.coverage_90:.0%} of the cases."
    )
    advice = Advice(
        "Use draws of MCMC in place of the guide's widths: the section mcmc of the full report "
        "has them for single images"
    )
    return Finding(
        "overconfident_guide",
        "The guide's uncertainty is too small",
        max(evidence.least, sum(gaps)),
        reason,
        (advice,),
        fault=False,
    )
