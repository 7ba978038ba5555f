"""The inspected images have a different distribution from the training images."""

from __future__ import annotations

from pyrovae.inspection.judge import FOLLOWING, OF_THE_LOSS, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import LEVEL

__all__ = ["look"]

EXPLAINS = FOLLOWING | OF_THE_LOSS | {"overfitting", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """The ELBO differs from that of held-out images; without these, a test of pixels must too."""
    gap, differs = evidence.shift, evidence.shift_p < LEVEL
    cost = abs(gap.value)
    sure = cost > evidence.least and evidence.beyond_chance(gap)
    if not sure or not (differs or evidence.has_held_out):
        return None
    others = "held-out images" if evidence.has_held_out else "the training images"
    reason = f"The ELBO of {others} is {cost:,.0f} nats {'higher' if gap.value > 0 else 'lower'}."
    if differs:
        found = f"(p = {evidence.shift_p:.1g})"
        tested = (
            f"A test on downscaled images shows that training and inspected images differ {found}."
        )
        reason = f"{tested} {reason}"
    title, fault = "Training and inspected images differ", cost > evidence.fault
    advice = Advice("Train on images of both sources, or divide all images at random")
    return Finding("data_shift", title, cost, reason, (advice,), EXPLAINS, fault)
