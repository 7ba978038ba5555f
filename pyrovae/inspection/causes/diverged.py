"""The training diverged."""

from __future__ import annotations

import math

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding
from pyrovae.inspection.judge.limits import HIGH_LR, SKIPPED

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
    rate = evidence.options.get("optimizer.lr")
    lost = evidence.no_latent - evidence.elbo
    broken = lost > evidence.fault and rate is not None and rate > HIGH_LR
    missing = evidence.missing if broken else math.nan
    if not (fell or broken or evidence.skipped > SKIPPED):
        return None
    parts = []
    if fell:
        parts.append(
            f"The training ELBO of the last epoch is {evidence.train_fall:,.0f} nats below its "
            "best one."
        )
    if evidence.skipped > SKIPPED:
        parts.append(f"{evidence.skipped:.0%} of the steps had gradients that are not finite.")
    if broken:
        parts.append(
            f"With a learning rate of {rate:g} the ELBO is {lost:,.0f} nats below that of a model "
            "without latents."
        )
    advice = Advice(
        "Lower the learning rate",
        {} if rate is None else {"optimizer.lr": min(rate / 10, 1e-3)},
        "The training ELBO no longer falls",
    )
    return Finding(
        "diverged",
        "Training diverged",
        max(evidence.fault, *(own for own in (evidence.train_fall, missing) if own == own)),
        " ".join(parts),
        (advice,),
        EXPLAINS,
    )
