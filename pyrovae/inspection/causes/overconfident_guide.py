"""The guide's intervals contain the true latents too rarely."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import COVERED, LEAST, LEVEL
from pyrovae.inspection.judge.remedies import better_encoder

__all__ = ["look"]

#: What to do for any reason.
MCMC = Advice(
    "Use draws of MCMC instead of the guide's: the section mcmc of the full report has them for "
    "single images"
)


def look(evidence: Evidence) -> Finding | None:
    """Intervals of images drawn from the model miss the latents that the images come from.

    It is never a fault: the gaps have their own findings and costs. But the guide's intervals
    must not be used as they are.
    """
    if not evidence.tarp_p < LEVEL or not evidence.coverage_90 < COVERED:
        return None
    gaps = [own for own in (evidence.amortisation, evidence.approximation) if own == own]
    title, why = _why(evidence)
    reason = (
        "For images drawn from the model, the guide's 90% intervals contain the true latents in "
        f"{evidence.coverage_90:.0%} of the cases.{why}"
    )
    advice = (*better_encoder(evidence), MCMC) if title == OFF else (MCMC,)
    cost = sum(max(0.0, own) for own in gaps) if gaps else math.nan
    return Finding("overconfident_guide", title, cost, reason, advice, fault=False)


#: The titles: for wrong locations, for wrong widths, and if it is unknown which.
OFF = "The guide's intervals miss the true latents because their locations are wrong"
NARROW = "The guide's uncertainty is too small"
MISS = "The guide's intervals miss the true latents too often"


def _why(evidence: Evidence) -> tuple[str, str]:
    """The title, and a sentence on what the gaps and a common factor of the widths show.

    Gaps that may be noise show nothing. A weight above 1 says that the factor would be below 1.
    """
    amortised, family = evidence.amortisation, evidence.approximation
    noise = evidence.certain * evidence.gap_error  # NaN if unknown: then nothing is sure.
    off, narrow = (LEAST < own and noise < own for own in (amortised, family))
    widths = evidence.spread_gain
    wider = widths > LEAST and not evidence.weight > 1
    if (narrow and family >= amortised) or (wider and not (off and amortised > 2 * widths)):
        return NARROW, ""
    if off and amortised > 2 * widths and amortised > 2 * family:
        return OFF, (
            " Their widths are not the reason: one factor for all widths would gain "
            f"{widths:,.1f} nats, a refined location and width for each image {amortised:,.1f} "
            "nats (amortisation gap)."
        )
    return MISS, ""
