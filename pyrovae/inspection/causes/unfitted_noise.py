"""Probabilities of pixels, without a scale, that do not fit the residuals."""

from __future__ import annotations

from pyrovae.inspection.judge import Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import COARSE, FINE

__all__ = ["look"]

EXPLAINS = frozenset({"narrow_family", "prior_mismatch", "small_encoder"})


def look(evidence: Evidence) -> Finding | None:
    """Squared residuals are far from the variance of the predicted probabilities."""
    ratio = evidence.dispersion
    if evidence.has_scale or COARSE <= ratio <= FINE or ratio != ratio:
        return None
    side = "overconfident" if ratio > FINE else "not confident enough"
    reason = (
        f"Squared residuals are {ratio:.3g} times the variance that the likelihood expects, "
        "although training adapts it."
    )
    advice = Advice("Train for longer", {}, "The ratio moves towards 1")
    title, cost = f"The decoder is {side}", evidence.fault  # The least: the true one is unknown.
    return Finding("unfitted_noise", title, cost, reason, (advice,), EXPLAINS)
