"""The advice on a noise scale that is wrong."""

from __future__ import annotations

import math

from pyrovae.inspection.judge.advice import Advice
from pyrovae.inspection.judge.evidence import Evidence

__all__ = ["learn_the_noise", "scale_words", "settled"]


def learn_the_noise(evidence: Evidence) -> tuple[Advice, ...]:
    """To train the scale, or to set it to that of the residuals if it is an option.

    Args:
        evidence: with the fixed scale, the ratio of squared residuals, and its cost.
    """
    if math.isnan(evidence.fixed_scale):
        return (_longer(evidence),)
    cost, scale = evidence.noise_cost, evidence.fixed_scale * math.sqrt(evidence.dispersion)
    learned = Advice(
        "Train the scale with the networks",
        {"likelihood": "SharedScaleNormal"},
        f"Squared residuals equal the expected variance, and the ELBO rises by {cost:,.0f} nats",
    )
    fixed = Advice(
        "Set the scale to that of the residuals",
        {"likelihood.scale": float(f"{scale:.3g}")},
        "The ratio of squared residuals to their expected variance moves towards 1",
    )
    return (learned, fixed) if "likelihood.scale" in evidence.options else (learned,)


def _longer(evidence: Evidence) -> Advice:
    """To go on with training, which adapts a learned scale."""
    epochs = evidence.options.get("trainer.epochs")
    changes = {} if epochs is None else {"trainer.epochs": 2 * epochs}
    effect = "The learned scale follows the residuals, and the ratio moves towards 1"
    return Advice("Train for longer", changes, effect)


def scale_words(evidence: Evidence) -> str:
    """A sentence on a scale that is fixed; empty for a learned one."""
    scale = evidence.fixed_scale
    return "" if math.isnan(scale) else f"The likelihood's scale is fixed at {scale:g}. "


def settled(evidence: Evidence) -> bool:
    """Whether the noise has a scale that no longer changes: a fixed one, or after training."""
    return evidence.has_scale and (evidence.finished or not math.isnan(evidence.fixed_scale))
