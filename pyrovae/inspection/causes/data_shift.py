"""The inspected images have a different distribution from the training images."""

from __future__ import annotations

from pyrovae.inspection.judge import FOLLOWING, OF_THE_LOSS, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import LEVEL

__all__ = ["look"]

EXPLAINS = FOLLOWING | OF_THE_LOSS | {"overfitting", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """A test finds a difference of both splits, and the ELBO differs too."""
    gap = abs(evidence.train_gap)
    sure = gap > evidence.least and gap > evidence.certain * evidence.train_gap_error
    if not evidence.shift_p < LEVEL or not sure:
        return None
    side = "higher" if evidence.train_gap > 0 else "lower"
    reason = (
        f"A test on downscaled images shows that training and inspected images differ (p = "
        f"{evidence.shift_p:.1g}). The ELBO of the training images is {gap:,.0f} nats {side}."
    )
    title, fault = "Training and inspected images differ", gap > evidence.fault
    advice = Advice("Train on images of both sources, or divide all images at random")
    return Finding("data_shift", title, gap, reason, (advice,), EXPLAINS, fault)
