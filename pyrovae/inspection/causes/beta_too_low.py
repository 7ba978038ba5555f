"""The weight on the rate is too low: the guide is narrower than the ELBO prefers."""

from __future__ import annotations

from pyrovae.inspection.judge import FOLLOWING, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import LIGHT
from pyrovae.inspection.judge.remedies import wrong_weight

__all__ = ["look"]

EXPLAINS = FOLLOWING | {"diverged", "overfitting", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """Beta was below 1, or the spread of the guide fits a weight below 1."""
    beta = float(evidence.options.get("beta.value", 1.0))
    narrow = evidence.weight + evidence.certain * evidence.weight_error < LIGHT
    costs = [own for own in (evidence.spread_gain, evidence.prior_gain) if own == own]
    cost = max(costs, default=0.0)
    if not (beta < 1 or narrow) or not cost > evidence.least:
        return None
    title = "The weight on the rate is too low" if beta < 1 else "The guide is too narrow"
    found = Finding("beta_too_low", title, cost, "", _advice(beta, cost), EXPLAINS)
    return wrong_weight(evidence, found, stated=beta < 1, fits=narrow)


def _advice(beta: float, cost: float) -> tuple[Advice, ...]:
    if beta < 1:
        effect = f"The rate falls, and the ELBO rises by at least {cost:,.0f} nats"
        return (Advice("Set the weight on the rate to 1", {"beta.value": 1.0}, effect),)
    effect = f"The guide becomes wider, and the ELBO rises by about {cost:,.0f} nats"
    words = "Corrupt the images that the guide sees"
    return Advice(words, {"objective": "Denoising"}, effect), Advice("Train on more images")
