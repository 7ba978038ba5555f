"""The decoder ignores latents that the guide pays for."""

from __future__ import annotations

from pyrovae.inspection.judge import Evidence, Finding
from pyrovae.inspection.judge.remedies import train_longer

__all__ = ["look"]

EXPLAINS = frozenset({"beta_too_low"})


def look(evidence: Evidence) -> Finding | None:
    """Dimensions with a rate make no difference to the decoded image."""
    cost, count = evidence.ignored, evidence.num_ignored
    if not cost > evidence.least:
        return None
    reason = (
        f"{count} of {evidence.dims} latent dimensions carry {cost:,.1f} nats, but log p(x | z) "
        "hardly changes if their draws are exchanged between images."
    )
    effect = (
        f"The guide sets these dimensions to the prior, and the rate falls by {cost:,.1f} nats"
    )
    title, advice = "The decoder ignores latents", (train_longer(evidence, effect),)
    fault = cost > evidence.fault
    return Finding("ignored_latents", title, cost, reason, advice, EXPLAINS, fault)
