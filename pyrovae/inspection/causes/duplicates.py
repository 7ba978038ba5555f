"""Inspected images have copies among the training images."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import DUPLICATES

__all__ = ["look"]


def look(evidence: Evidence) -> Finding | None:
    """More than a few of the inspected images are copies: scores are those of known images."""
    share, gain = evidence.duplicates, evidence.duplicate_gain
    if not share > DUPLICATES:
        return None
    reason = f"{share:.1%} of the inspected images are copies of training images."
    if gain == gain:
        reason += f" Their ELBO is {gain:,.0f} nats above that of the others."
    title = "Inspected images are copies of training images"
    effect = "Scores are those of new images"
    advice = Advice("Remove the copies from one of the splits", {}, effect)
    # Copies can only raise the ELBO of the inspected images.
    explains = frozenset({"data_shift"} if evidence.shift.value < 0 else ())
    return Finding("duplicates", title, math.nan, reason, (advice,), explains)
