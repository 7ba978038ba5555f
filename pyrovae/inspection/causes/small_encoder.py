"""The encoder does not find the best posterior of the guide's family."""

from __future__ import annotations

from pyrovae.inspection.judge import OF_THE_LOSS, Evidence, Finding
from pyrovae.inspection.judge.remedies import better_encoder

__all__ = ["look"]

EXPLAINS = OF_THE_LOSS | {
    "collapsed",
    "missed_mode",
    "prior_mismatch",
    "too_few_latents",
    "undertrained",
    "unfitted_noise",
}


def look(evidence: Evidence) -> Finding | None:
    """The amortisation gap is large and larger than the approximation gap."""
    cost = evidence.amortisation
    sure = cost > evidence.certain * evidence.gap_error
    if not cost > evidence.least or evidence.approximation > cost or not sure:
        return None
    reason = (
        f"Refining the guide for each image within its family raises the ELBO by {cost:,.1f} "
        "nats: the encoder does not find the best posterior (amortisation gap)."
    )
    title, advice = "The encoder is too weak", better_encoder(evidence)
    fault = cost > evidence.fault
    return Finding("small_encoder", title, cost, reason, advice, EXPLAINS, fault)
