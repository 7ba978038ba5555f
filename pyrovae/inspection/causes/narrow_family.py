"""The guide's family does not contain the posterior."""

from __future__ import annotations

from pyrovae.inspection.judge import Advice, Evidence, Finding

__all__ = ["look"]

EXPLAINS = frozenset({"beta_too_high", "beta_too_low", "prior_mismatch", "too_few_latents"})

#: Families from the cheapest to the richest.
RICHER = ("FullRankNormal", "InverseAutoregressiveFlow")


def look(evidence: Evidence) -> Finding | None:
    """The approximation gap is large and larger than the amortisation gap."""
    cost = evidence.approximation
    sure = cost > evidence.certain * evidence.gap_error
    if not cost > evidence.least or evidence.amortisation > cost or not sure:
        return None
    reason = (
        f"The best posterior of the guide's family is {cost:,.1f} nats below log p(x) for each "
        "image (approximation gap)."
    )
    own = evidence.options.part("posterior")
    effect = f"The approximation gap of {cost:,.1f} nats shrinks"
    later = RICHER[RICHER.index(own) + 1 :] if own in RICHER else RICHER
    advice = tuple(Advice(f"Use {name}", {"posterior": name}, effect) for name in later)
    title, fault = "The guide's family is too narrow", cost > evidence.fault
    return Finding("narrow_family", title, cost, reason, advice, EXPLAINS, fault)
