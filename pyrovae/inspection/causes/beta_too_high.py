"""The weight on the rate is too high: the guide is wider than the ELBO prefers."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import FOLLOWING, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import HEAVY
from pyrovae.inspection.judge.remedies import train_longer, wrong_weight

__all__ = ["look"]

EXPLAINS = FOLLOWING | {"collapsed", "diverged", "noise_too_large", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """Beta was above 1, or the spread of the guide fits a weight above 1."""
    beta = float(evidence.options.get("beta.value", 1.0))
    wide = evidence.weight - evidence.certain * evidence.weight_error > HEAVY and not evidence.wide
    costs = [evidence.spread_gain, *([evidence.missing] if beta > 1 else [])]
    # Without an active dimension the cost may be unknown, as during training.
    unknown = math.nan if beta > 1 and evidence.dims and not evidence.active else 0.0
    cost = max((own for own in costs if own == own), default=unknown)
    if not (beta > 1 or wide) or cost <= evidence.least:
        return None
    title = "The weight on the rate is too high" if beta > 1 else "The guide is too wide"
    found = Finding("beta_too_high", title, cost, "", (_advice(evidence, beta, cost),), EXPLAINS)
    return wrong_weight(evidence, found, stated=beta > 1, fits=wide)


def _advice(evidence: Evidence, beta: float, cost: float) -> Advice:
    if beta <= 1:
        return train_longer(evidence, "The guide becomes narrower late in training")
    effect = "Rate and active dimensions rise, and the ELBO rises"
    if cost == cost:
        effect += f" by at least {cost:,.0f} nats"
    return Advice("Set the weight on the rate to 1", {"beta.value": 1.0}, effect)
