"""Training stopped too early."""

from __future__ import annotations

import math

from pyrovae.inspection.judge import FOLLOWING, OF_THE_LOSS, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import FEW_STEPS, LEAST, LOW_LR, WORTH_DOUBLING
from pyrovae.inspection.judge.remedies import is_adam, train_longer

__all__ = ["look"]

EXPLAINS = FOLLOWING | OF_THE_LOSS | {"collapsed"}


def look(evidence: Evidence) -> Finding | None:
    """The validation ELBO was still rising, or the ELBO is below that of a linear model."""
    below = _unexplained(evidence)
    rises = evidence.rise if evidence.val_fall < evidence.rise else 0.0
    # A run that is below simpler models and no longer rises has another fault.
    early = rises > evidence.least or evidence.steps < FEW_STEPS
    cost = max(min(rises, _most(evidence)), below if early else 0.0)
    least = LEAST if evidence.is_below and early else evidence.least
    if not evidence.finished or not cost > least:
        return None
    fault = cost > WORTH_DOUBLING * evidence.fault
    title = "Training stopped too early" if fault else "Longer training would help"
    reason, advice = _reason(evidence, rises, below), _advice(evidence, cost, fault)
    return Finding("undertrained", title, cost, reason, advice, EXPLAINS, fault)


def _most(evidence: Evidence) -> float:
    """The most that further training can gain: up to simple models, and once more by latents.

    The rise of a run that recovers from a crash does not show how much is left.
    """
    missing = evidence.missing
    return max(0.0, missing) + evidence.scale if missing == missing else math.inf


def _advice(evidence: Evidence, cost: float, fault: bool) -> tuple[Advice, ...]:
    """Larger steps if those of Adam are unusually small; more steps."""
    effect = f"The validation ELBO rises by about {cost:,.0f} nats"
    # A run whose learning rate has fallen to its end would learn little more.
    longer = train_longer(evidence, effect, resumes=not evidence.options.part("schedule"))
    options = evidence.options
    low = is_adam(options) and 0 < options.get("optimizer.lr", 1.0) < LOW_LR
    if not (low and fault) or options.get("init_from"):  # Low rates are usual for trained weights.
        return (longer,)
    effect = "The validation ELBO rises more than with twice as many epochs at the present rate"
    return Advice("Raise the learning rate", {"optimizer.lr": 1e-3}, effect), longer


def _reason(evidence: Evidence, rises: float, below: float) -> str:
    """What shows that training stopped early: the rise, and the distance to a simpler model."""
    after = f"after {evidence.steps:,.0f} steps (epochs: {evidence.epochs:,.0f})"
    parts = []
    if rises > evidence.least and evidence.epochs == 1:
        parts.append(
            f"The validation ELBO {after} is {2 * rises:,.0f} nats above the training ELBO, which "
            "is a mean over the epoch: it was still rising."
        )
    elif rises > evidence.least:
        parts.append(
            f"The validation ELBO was still rising {after}: it gained {2 * rises:,.0f} nats in "
            "the second half."
        )
    if below > evidence.least or not parts:
        elbo = "The ELBO" if parts else f"{after.capitalize()} the ELBO"
        model = f"a simpler model, {evidence.best_simple}"
        parts.append(f"{elbo} is {below:,.0f} nats below log p(x) of {model}.")
    return " ".join(parts)


def _unexplained(evidence: Evidence) -> float:
    """The nats below simple models, without the guide's loss, which steps do not reduce."""
    gaps = (evidence.amortisation, evidence.approximation)
    missing = evidence.missing
    if evidence.steps < FEW_STEPS:  # Even a model without structure may be better.
        missing = max(evidence.no_latent - evidence.elbo, missing)
    return max(0.0, missing - sum(max(0.0, own) for own in gaps if own == own))
