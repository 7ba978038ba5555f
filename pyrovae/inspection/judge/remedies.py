"""What several causes have in common: their advice, and the finding of a wrong noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from pyrovae.inspection.judge.advice import Advice, Options
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import FOLLOWING, Finding

__all__ = ["better_encoder", "is_adam", "train_longer", "wrong_noise", "wrong_weight"]

#: A trained noise that is wrong may come from the guide, not the other way round.
OF_THE_GUIDE = frozenset({"narrow_family", "small_encoder"})


def is_adam(options: Options) -> bool:
    """Whether the optimiser is torch's Adam or a variant of it, whose rates are comparable."""
    return options.part("optimizer") in ("Adam", "AdamW", "Adamax", "NAdam", "RAdam")


def train_longer(evidence: Evidence, effect: str, *, resumes: bool = False) -> Advice:
    """The advice to train for twice as many epochs.

    Args:
        evidence: with the options of the run or the number of its epochs.
        effect: what it should change.
        resumes: whether the run continues with its weights.
    """
    epochs = evidence.options.get("trainer.epochs", evidence.epochs)
    changes = {"trainer.epochs": 2 * int(epochs)} if epochs == epochs else {}
    return Advice("Train for longer", changes, effect, resumes)


def better_encoder(evidence: Evidence) -> tuple[Advice, ...]:
    """The advice to train an encoder that finds better posteriors.

    Args:
        evidence: with the amortisation gap, and the options of the run.
    """
    effect = f"The amortisation gap of {evidence.amortisation:,.1f} nats shrinks"
    found = []
    for name in ("encoder.channels", "encoder.hidden"):
        sizes = evidence.options.get(name)
        if isinstance(sizes, list):
            found.append(Advice("Use a larger encoder", {name: [2 * n for n in sizes]}, effect))
    return (*found, Advice("Train for longer, with a learning rate that falls"))


def wrong_weight(evidence: Evidence, found: Finding, *, stated: bool, fits: bool) -> Finding:
    """The finding of a weight on the rate other than 1, with its reason.

    Args:
        evidence: with the weight that fits the guide's spread.
        found: without a reason.
        stated: whether the option has the wrong weight; then it is a fault of any cost.
        fits: whether the guide's spread fits a wrong weight.
    """
    parts = []
    if stated:
        beta = evidence.options.get("beta.value", 1.0)
        parts.append(f"--beta.value is {float(beta):g}: the ELBO has 1.")
    if fits:
        parts.append(
            f"The guide's spread is optimal for a weight of {evidence.weight:.2g} on the rate."
        )
    fault = found.cost > evidence.fault or stated
    return replace(found, reason=" ".join(parts), fault=fault, known=stated)


def wrong_noise(
    evidence: Evidence, cause: str, title: str, meaning: str, explains: frozenset[str]
) -> Finding | None:
    """The finding of squared residuals that are far from the variance that the noise expects.

    A trained scale is judged after training only.

    Args:
        evidence: with the ratio of squared residuals to their variance, and its cost.
        cause: the name of the cause.
        title: the cause in a few words.
        meaning: what the ratio means, as a clause after a colon; may be empty.
        explains: what a fixed noise explains besides `FOLLOWING`.
    """
    scale, cost = evidence.fixed_scale, evidence.noise_cost
    fixed = not math.isnan(scale)
    if not (evidence.has_scale and (fixed or evidence.finished) and cost > evidence.least):
        return None
    stated = f"The noise has the fixed standard deviation {scale:g}. " if fixed else ""
    reason = (
        f"{stated}Squared residuals are {evidence.dispersion:,.3g} times the variance that it "
        f"expects{meaning}."
    )
    own = FOLLOWING | explains
    fault = cost > evidence.fault
    if fixed:
        return Finding(cause, title, cost, reason, _learned(evidence), own, fault, known=True)
    effect = "The trained scale follows the residuals, and the ratio moves towards 1"
    advice = (train_longer(evidence, effect),)
    return Finding(cause, title, cost, reason, advice, own - OF_THE_GUIDE, fault)


def _learned(evidence: Evidence) -> tuple[Advice, ...]:
    """To train a fixed scale, or to set it to that of the residuals if it is an option."""
    cost, scale = evidence.noise_cost, evidence.options.get("likelihood.scale")
    effect = (
        f"Squared residuals equal the expected variance, and the ELBO rises by {cost:,.0f} nats"
    )
    changes: dict[str, Any] = {"likelihood": "SharedScaleNormal"}
    learned = Advice("Train the scale with the networks", changes, effect)
    if not isinstance(scale, int | float) or math.isnan(evidence.noise_factor):
        return (learned,)
    changes = {"likelihood.scale": float(f"{scale * evidence.noise_factor:.3g}")}
    effect = f"The ELBO rises by {cost:,.0f} nats or more"
    return learned, Advice("Set the scale to the best one for the residuals", changes, effect)
