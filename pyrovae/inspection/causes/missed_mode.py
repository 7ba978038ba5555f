"""The guide misses a mode of the posterior."""

from __future__ import annotations

from pyrovae.inspection.judge import Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import MODE

__all__ = ["look"]

EXPLAINS = frozenset({"prior_mismatch"})


def look(evidence: Evidence) -> Finding | None:
    """Draws that do not come from the guide find posterior mass that its own draws miss."""
    cost = evidence.missed_mode
    if not (cost > MODE and cost > evidence.certain * evidence.missed_error):
        return None
    reason = (
        f"A search that starts from draws of the prior gives a log p(x) that is {cost:,.2f} nats "
        "higher than the guide's own draws give. Neither k-hat nor the number of effective draws "
        "can show this."
    )
    changes = {"posterior": "InverseAutoregressiveFlow"}
    effect = f"log p(x) estimated from the guide's draws rises by up to {cost:,.2f} nats"
    advice = Advice("Use a family that can have several modes", changes, effect)
    title = "The guide misses a mode of the posterior"
    return Finding("missed_mode", title, cost, reason, (advice,), EXPLAINS)
