"""The likelihood's noise is too small."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import Evidence, Finding
from pyrovae.inspection.judge.limits import FINE, TRAINED_FINE
from pyrovae.inspection.judge.remedies import wrong_noise

__all__ = ["look"]

EXPLAINS = frozenset({"beta_too_high", "beta_too_low", "overfitting", "undertrained"})


def look(evidence: Evidence) -> Finding | None:
    """Squared residuals are larger than the likelihood expects."""
    trained = math.isnan(evidence.fixed_scale)
    if not evidence.dispersion > (TRAINED_FINE if trained else FINE):
        return None
    title = "The likelihood's noise is too small"
    return wrong_noise(evidence, "noise_too_small", title, "", EXPLAINS)
