"""The prior does not fit the encodings."""

from __future__ import annotations

from pyrovae.inspection.judge import Advice, Evidence, Finding

__all__ = ["look"]

#: Priors that adapt to the encodings, in the order in which they are advised.
LEARNED = ("FlowPrior", "GaussianMixture", "VampPrior")


def look(evidence: Evidence) -> Finding | None:
    """A mixture fitted to half of the encodings predicts the other half better than the prior."""
    cost = evidence.prior_gain
    if not cost > evidence.least or not cost > evidence.certain * evidence.prior_gain_error:
        return None
    reason = (
        "A mixture fitted to half of the encodings predicts the other half better than the prior "
        f"does, by {cost:,.1f} nats. So samples come from regions where no image is encoded."
    )
    effect = (
        f"The rate falls by about {cost:,.0f} nats, and samples look more like reconstructions"
    )
    advice = tuple(Advice(f"Use {name}", {"prior": name}, effect) for name in LEARNED)
    title, fault = "The prior does not fit the encodings", cost > evidence.fault
    return Finding("prior_mismatch", title, cost, reason, advice, fault=fault)
