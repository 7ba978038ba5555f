"""The inspected images are not distributed as the training images."""

from __future__ import annotations

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding
from pyrovae.inspection.judge.limits import LEVEL, SURE

__all__ = ["look"]


def look(evidence: Evidence) -> Finding | None:
    """A test finds a difference of both splits, and the ELBO differs too."""
    gap = abs(evidence.gap)
    if not evidence.shift_p < LEVEL or not gap > max(evidence.least, SURE * evidence.gap_sure):
        return None
    reason = (
        f"A test of reduced images finds that training and inspected images differ (p = "
        f"{evidence.shift_p:.1g}). The ELBO of training images is {evidence.gap:,.0f} nats higher."
    )
    explains = (
        "overfitting noise_too_small noise_too_large prior_mismatch small_encoder narrow_family "
        "beta_too_low beta_too_high one_scale missed_mode"
    )
    return Finding(
        "data_shift",
        "Training and inspected images differ",
        gap,
        reason,
        (Advice("Train on images of both sources, or divide all images at random"),),
        frozenset(explains.split()),
        gap > evidence.fault,
    )
