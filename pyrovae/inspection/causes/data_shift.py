"""The inspected images have a different distribution from the training images."""

from __future__ import annotations

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import FOLLOWING, Finding
from pyrovae.inspection.judge.limits import LEVEL

__all__ = ["look"]

EXPLAINS = FOLLOWING | {
    "beta_too_high",
    "beta_too_low",
    "noise_too_large",
    "noise_too_small",
    "overfitting",
    "undertrained",
}


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
    return Finding(
        "data_shift",
        "Training and inspected images differ",
        gap,
        reason,
        (Advice("Train on images of both sources, or divide all images at random"),),
        EXPLAINS,
        gap > evidence.fault,
    )
