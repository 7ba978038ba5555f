"""One noise scale for all pixels, although pixels differ."""

from __future__ import annotations

from pyrovae.inspection.judge import Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import SURE

__all__ = ["look"]


def look(evidence: Evidence) -> Finding | None:
    """A scale per pixel position would gain much.

    One scale is a choice. It is a fault only where the ELBO is far below log p(x) of a simpler
    model, and a scale per pixel would gain at least half of the difference.
    """
    cost, likelihood = evidence.pixel_gain, evidence.options.part("likelihood")
    if not cost > evidence.fault or likelihood == "PixelwiseNormal":
        return None
    reason = (
        "Some pixels have much larger residuals than others: Normal noise with one scale per "
        f"pixel position would gain {cost:,.0f} nats."
    )
    changes = {"likelihood": "PixelwiseNormal"}
    effect = f"The ELBO rises by at least {cost:,.0f} nats, since scales follow the images, too"
    advice = Advice("Let the decoder predict a scale per pixel", changes, effect)
    title = "All pixels share one noise scale"
    below = evidence.below
    fault = below > max(evidence.fault, SURE * evidence.below_error) and cost > below / 2
    return Finding("one_scale", title, cost, reason, (advice,), fault=fault)
