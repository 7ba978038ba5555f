"""Posterior collapse: the latents carry too little."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import FOLLOWING, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import HIGH_LR
from pyrovae.inspection.judge.remedies import is_adam

__all__ = ["look"]

EXPLAINS = FOLLOWING | {"noise_too_large", "noise_too_small", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """Most dimensions are not active, and simple models gain more by latents."""
    missing = evidence.missing
    # Nothing to compare with, but no dimension is active.
    unknown = evidence.active == 0 and evidence.dims and math.isnan(missing)
    if not unknown and not (evidence.mostly_inactive and missing > evidence.fault):
        return None
    reason = (
        f"{evidence.active} of {evidence.dims} latent dimensions are active, and the rate is "
        f"{evidence.rate:,.1f} nats."
    )
    if missing == missing:
        reason += (
            f" A linear or a mixture model has a log p(x) that is {missing:,.0f} nats above the "
            "ELBO: there is structure to encode."
        )
    title = f"The posterior has {'partly ' if evidence.active else ''}collapsed"
    return Finding("collapsed", title, missing, reason, _advice(evidence), EXPLAINS)


def _advice(evidence: Evidence) -> tuple[Advice, ...]:
    options, found = evidence.options, []
    effect = "More dimensions become active, and the ELBO rises above that of the linear model"
    if is_adam(options) and options.get("optimizer.lr", 0.0) > HIGH_LR:
        found.append(Advice("Lower the learning rate", {"optimizer.lr": 1e-3}, effect))
    if options.part("start") == "RandomStart":
        found.append(Advice("Start from a linear VAE", {"start": "ProbabilisticPCA"}, effect))
    if not options.get("beta.schedule"):
        changes = {"beta.schedule": "Warmup"}
        found.append(Advice("Raise the weight on the rate slowly", changes, effect))
    return (*found, Advice("Do not penalise small rates", {"objective": "FreeBits"}, effect))
