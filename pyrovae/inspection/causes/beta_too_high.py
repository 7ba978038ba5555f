"""The weight on the rate is too high: the guide is wider than the ELBO prefers."""

from __future__ import annotations

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding
from pyrovae.inspection.judge.limits import HEAVY, SURE

__all__ = ["look"]

EXPLAINS = frozenset(
    {
        "collapsed",
        "diverged",
        "ignored_latents",
        "narrow_family",
        "noise_too_large",
        "one_scale",
        "prior_mismatch",
        "small_encoder",
        "too_few_latents",
        "undertrained",
        "unfitted_noise",
    }
)


def look(evidence: Evidence) -> Finding | None:
    """Beta was above 1, or the spread of the guide fits a weight above 1."""
    beta = float(evidence.options.get("beta.value", 1.0))
    low = evidence.weight - SURE * evidence.weight_error
    wide = low > HEAVY and not evidence.wide
    if beta <= 1 and not wide:
        return None
    missing = evidence.missing
    cost = max((own for own in (evidence.spread_gain, missing) if own == own), default=0.0)
    if not cost > evidence.least:
        return None
    reason = f"The guide's spread is optimal for a weight of {evidence.weight:.2g} on the rate."
    if beta > 1:
        reason = (
            f"--beta.value is {beta:g}: the ELBO has 1. {reason}"
            if wide
            else (f"--beta.value is {beta:g}: the ELBO has 1.")
        )
    advice = Advice(
        "Set the weight on the rate to 1",
        {"beta.value": 1.0},
        "The rate and the number of active dimensions rise, the distortion falls, and so the ELBO "
        f"rises by at least {cost:,.0f} nats",
    )
    other = Advice("Train for longer: the guide becomes narrower late in training")
    return Finding(
        "beta_too_high",
        "The weight on the rate is too high" if beta > 1 else "The guide is too wide",
        cost,
        reason,
        (advice,) if beta > 1 else (other,),
        EXPLAINS,
        cost > evidence.fault or beta > 1,
        beta > 1,
    )
