"""The training diverged."""

from __future__ import annotations

from collections.abc import Iterator

from pyrovae.inspection.judge import FOLLOWING, OF_THE_LOSS, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import FAR_TOO_HIGH_LR, FELL, HIGH_LR, SKIPPED
from pyrovae.inspection.judge.remedies import is_adam

__all__ = ["look"]

EXPLAINS = FOLLOWING | OF_THE_LOSS | {"collapsed", "overfitting", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """The training ELBO fell for good, steps were skipped, or a high rate keeps the ELBO low."""
    found = list(_signs(evidence))
    if not found:
        return None
    costs, parts = zip(*found, strict=True)
    rate = evidence.options.get("optimizer.lr", 0.0)
    changes = {"optimizer.lr": min(rate / 10, 1e-3)} if rate else {}
    advice = Advice("Lower the learning rate", changes, "The training ELBO no longer falls")
    how = (max(costs), " ".join(parts), (advice,), EXPLAINS)
    return Finding("diverged", "Training diverged", *how)


def _signs(evidence: Evidence) -> Iterator[tuple[float, str]]:
    """Signs of divergence: what each costs at least, in nats, and a sentence."""
    # With another weight on the rate, or another aim, the ELBO is not what training raises.
    plain = evidence.maximises_elbo and evidence.options.get("beta.value", 1.0) == 1
    if plain and evidence.train_fall > max(evidence.fault, FELL * evidence.gain):
        yield (
            evidence.train_fall,
            f"The training ELBO of the last epoch is {evidence.train_fall:,.0f} nats below that "
            "of the best epoch.",
        )
    if evidence.skipped > SKIPPED:
        share = f"{evidence.skipped:.0%}"
        yield evidence.fault, f"{share} of the steps had gradients that are not finite."
    rate, lost = evidence.options.get("optimizer.lr", 0.0), evidence.no_latent - evidence.elbo
    with_rate = f"With a learning rate of {rate:.2g} the ELBO is "
    # The rates of other optimisers, such as SGD, have other sizes.
    stuck = evidence.rise <= evidence.least or evidence.rise >= evidence.scale
    high = rate > HIGH_LR and (is_adam(evidence.options) or stuck)
    if high and lost > evidence.fault:
        cost = max(lost, *([evidence.missing] if evidence.missing > 0 else []))
        # NaN, if it is unknown, is not the larger one.
        below, model = max((lost, "without structure"), (evidence.below, evidence.simpler))
        yield cost, f"{with_rate}{below:,.0f} nats below log p(x) of a simpler model, {model}."
    elif plain and _too_fast(evidence) and evidence.missing > evidence.fault:
        below, model = evidence.missing, evidence.best_simple
        yield below, f"{with_rate}{below:,.0f} nats below log p(x) of a simpler model, {model}."


def _too_fast(evidence: Evidence) -> bool:
    """Whether Adam's rate is far too high, and the run neither collapsed nor rises steadily."""
    far = evidence.options.get("optimizer.lr", 0.0) > FAR_TOO_HIGH_LR
    # By more than all that latents gain, the ELBO rises from a crash.
    steady = evidence.least < evidence.rise < evidence.scale
    return far and is_adam(evidence.options) and not (evidence.mostly_inactive or steady)
