"""The likelihood's noise is too large."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import Evidence, Finding
from pyrovae.inspection.judge.limits import COARSE, TRAINED_COARSE
from pyrovae.inspection.judge.remedies import wrong_noise

__all__ = ["look"]

EXPLAINS = frozenset({"beta_too_high", "collapsed", "undertrained"})


def look(evidence: Evidence) -> Finding | None:
    """Squared residuals are smaller than the likelihood expects."""
    trained = math.isnan(evidence.fixed_scale)
    if not evidence.dispersion < (TRAINED_COARSE if trained else COARSE):
        return None
    title = "The likelihood's noise is too large"
    meaning = ": detail is treated as noise, with the same effect as a high weight on the rate"
    return wrong_noise(evidence, "noise_too_large", title, meaning, EXPLAINS)
