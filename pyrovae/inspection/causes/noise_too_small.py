"""The likelihood's noise is too small."""

from __future__ import annotations

import math

from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding
from pyrovae.inspection.judge.limits import FINE, TRAINED_FINE
from pyrovae.inspection.judge.noise import learn_the_noise, scale_words, settled

__all__ = ["look"]

EXPLAINS = frozenset(
    {
        "beta_too_high",
        "beta_too_low",
        "ignored_latents",
        "narrow_family",
        "one_scale",
        "overfitting",
        "prior_mismatch",
        "small_encoder",
        "too_few_latents",
        "undertrained",
        "unfitted_noise",
    }
)

#: A learned noise that is wrong may come from the guide, not the other way round.
OF_THE_GUIDE = frozenset({"narrow_family", "small_encoder"})


def look(evidence: Evidence) -> Finding | None:
    """Squared residuals are larger than the likelihood expects."""
    ratio, cost = evidence.dispersion, evidence.noise_cost
    fixed = not math.isnan(evidence.fixed_scale)
    far = ratio > (FINE if fixed else TRAINED_FINE)
    if not settled(evidence) or not far or not cost > evidence.least:
        return None
    reason = (
        f"{scale_words(evidence)}Squared residuals are {ratio:,.3g} times the variance that it "
        "expects."
    )
    return Finding(
        "noise_too_small",
        "The likelihood's noise is too small",
        cost,
        reason,
        learn_the_noise(evidence),
        EXPLAINS if fixed else EXPLAINS - OF_THE_GUIDE,
        cost > evidence.fault,
        fixed,
    )
