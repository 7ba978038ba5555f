"""A verdict with several findings, as pages show it."""

from __future__ import annotations

import math

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Finding, Judgement


def faulty(evidence: Evidence | None = None) -> Judgement:
    """Four findings: one of unknown cost, one without a command, one possible improvement."""
    effect = "The ELBO rises by about 340 nats per image"
    noise = Advice("Learn the noise", {"likelihood": "SharedScaleNormal"}, effect)
    longer = Advice("Train for longer", {"trainer.epochs": 60}, resumes=True)
    return Judgement(
        (
            Finding("noise", "The noise is <too> small", 340.2, "It is 2. It is fixed.", (noise,)),
            Finding("short", "Training stopped early", 120.0, "The ELBO still rises.", (longer,)),
            Finding("same", "The split repeats images", math.nan, "31% have a duplicate."),
            Finding("prior", "A learned prior fits better", 8.0, "It gains 8 nats.", fault=False),
        )
    )
