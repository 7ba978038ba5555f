"""There are too few latent dimensions."""

from __future__ import annotations

from pyrovae.inspection.judge import Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import FULL, WORTH_MORE

__all__ = ["look"]

EXPLAINS = frozenset({"one_scale"})


def look(evidence: Evidence) -> Finding | None:
    """Every dimension carries much, and residuals have structure that latents could encode."""
    cost, weakest = evidence.residual_gain, evidence.weakest
    if not weakest > FULL or not cost > evidence.least:
        return None
    reason = (
        f"Each of the {evidence.dims} latent dimensions carries {weakest:.1f} nats or more. "
        f"Ten more linear latents, fitted to residuals, would gain about {cost:,.0f} nats."
    )
    changes = {"prior.latent_dim": 2 * evidence.dims}
    effect = (
        f"The rate and the ELBO rise; ten more linear latents alone would gain {cost:,.0f} nats"
    )
    advice = Advice("Use more latent dimensions", changes, effect)
    title, fault = "There are too few latent dimensions", cost > WORTH_MORE * evidence.fault
    return Finding("too_few_latents", title, cost, reason, (advice,), EXPLAINS, fault)
