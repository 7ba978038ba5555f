"""Images without content, or one image many times."""

from __future__ import annotations

import math

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import FOLLOWING, Finding
from pyrovae.inspection.judge.limits import CONSTANT, DISTINCT

__all__ = ["look"]

EXPLAINS = FOLLOWING | {
    "beta_too_high",
    "beta_too_low",
    "collapsed",
    "duplicates",
    "noise_too_large",
    "noise_too_small",
    "overfitting",
    "undertrained",
}


def look(evidence: Evidence) -> Finding | None:
    """Many images have equal pixels, or few training images are distinct."""
    parts = []
    if evidence.constant > CONSTANT:
        parts.append(f"All pixels are equal in {evidence.constant:.1%} of the inspected images.")
    if evidence.distinct < DISTINCT:
        parts.append(f"Only {evidence.distinct:.1%} of the training images are distinct.")
    if not parts:
        return None
    return Finding(
        "constant_images",
        "Many images are constant or equal",
        math.nan,
        " ".join(parts),
        (Advice("Look at the images, and remove the empty and the repeated ones"),),
        EXPLAINS,
    )
