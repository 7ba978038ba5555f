"""The training diverged."""

from __future__ import annotations

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding
from pyrovae.inspection.judge.limits import SKIPPED

__all__ = ["look"]

EXPLAINS = frozenset(
    {
        "beta_too_high",
        "beta_too_low",
        "collapsed",
        "ignored_latents",
        "missed_mode",
        "narrow_family",
        "noise_too_large",
        "noise_too_small",
        "overfitting",
        "prior_mismatch",
        "small_encoder",
        "too_few_latents",
        "undertrained",
        "unfitted_noise",
    }
)


def look(evidence: Evidence) -> Finding | None:
    """The ELBO of training images fell for good, or steps were skipped."""
    fell = evidence.train_fall > evidence.fault and evidence.train_fall > 0.2 * evidence.gain
    if not fell and not evidence.skipped > SKIPPED:
        return None
    parts = []
    if fell:
        parts.append(
            f"The training ELBO of the last epoch is {evidence.train_fall:,.0f} nats below its "
            "best one."
        )
    if evidence.skipped > SKIPPED:
        parts.append(f"{evidence.skipped:.0%} of the steps had gradients that are not finite.")
    rate = evidence.options.get("optimizer.lr")
    advice = Advice(
        "Lower the learning rate",
        {} if rate is None else {"optimizer.lr": rate / 10},
        "The training ELBO no longer falls",
    )
    return Finding(
        "diverged",
        "Training diverged",
        max(evidence.train_fall, evidence.fault) if fell else evidence.fault,
        " ".join(parts),
        (advice,),
        EXPLAINS,
    )
