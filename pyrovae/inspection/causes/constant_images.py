"""Images without content, or one image many times."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import FOLLOWING, OF_THE_LOSS, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import CONSTANT, DISTINCT

__all__ = ["look"]

EXPLAINS = FOLLOWING | OF_THE_LOSS | {"collapsed", "duplicates", "overfitting", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """Many images have equal pixels, or few training images are distinct."""
    parts = []
    if evidence.constant > CONSTANT:
        parts.append(f"All pixels are equal in {evidence.constant:.1%} of the inspected images.")
    if evidence.distinct < DISTINCT:
        parts.append(f"Only {evidence.distinct:.1%} of the training images are distinct.")
    if not parts:
        return None
    title = "Many images are constant or equal"
    advice = Advice("Look at the images, and remove the empty and the repeated ones")
    return Finding("constant_images", title, math.nan, " ".join(parts), (advice,), EXPLAINS)
