"""The likelihood's noise is too large."""

from __future__ import annotations

import math

from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding
from pyrovae.inspection.judge.limits import COARSE, TRAINED_COARSE
from pyrovae.inspection.judge.noise import learn_the_noise, scale_words, settled

__all__ = ["look"]

EXPLAINS = frozenset(
    {
        "beta_too_high",
        "collapsed",
        "ignored_latents",
        "narrow_family",
        "one_scale",
        "prior_mismatch",
        "small_encoder",
        "too_few_latents",
        "undertrained",
    }
)

#: A learned noise that is wrong may come from the guide, not the other way round.
OF_THE_GUIDE = frozenset({"narrow_family", "small_encoder"})


def look(evidence: Evidence) -> Finding | None:
    """Squared residuals are smaller than the likelihood expects."""
    ratio, cost = evidence.dispersion, evidence.noise_cost
    fixed = not math.isnan(evidence.fixed_scale)
    far = ratio < (COARSE if fixed else TRAINED_COARSE)
    if not settled(evidence) or not far or not cost > evidence.least:
        return None
    reason = (
        f"{scale_words(evidence)}Squared residuals are "
        f"{ratio:,.2g} times the variance that it expects: detail counts as noise, with the same "
        "effect as a high weight on the rate."
    )
    return Finding(
        "noise_too_large",
        "The likelihood's noise is too large",
        cost,
        reason,
        learn_the_noise(evidence),
        EXPLAINS if fixed else EXPLAINS - OF_THE_GUIDE,
        cost > evidence.fault,
        fixed,
    )
