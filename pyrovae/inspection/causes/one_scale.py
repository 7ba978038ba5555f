"""One noise scale for all pixels, although pixels differ."""

from __future__ import annotations

from pyrovae.inspection.judge import Advice, Evidence, Finding

__all__ = ["look"]


def look(evidence: Evidence) -> Finding | None:
    """A scale per pixel position would gain much; never a fault, since one scale is a choice."""
    cost, likelihood = evidence.pixel_gain, evidence.options.part("likelihood")
    if not cost > evidence.fault or likelihood == "PixelwiseNormal":
        return None
    reason = (
        "Some pixels have much larger residuals than others: Normal noise with one scale per "
        f"pixel position would gain {cost:,.0f} nats."
    )
    changes = {"likelihood": "PixelwiseNormal"}
    effect = f"The ELBO rises by about {cost:,.0f} nats"
    advice = Advice("Let the decoder predict a scale per pixel", changes, effect)
    title = "All pixels share one noise scale"
    return Finding("one_scale", title, cost, reason, (advice,), fault=False)
