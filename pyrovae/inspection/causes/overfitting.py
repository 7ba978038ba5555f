"""Training images are fitted far better than others."""

from __future__ import annotations

from pyrovae.inspection.judge import FOLLOWING, Advice, Evidence, Finding
from pyrovae.inspection.judge.limits import LEVEL, REPEATS, WORTH_IMAGES

__all__ = ["look"]

EXPLAINS = FOLLOWING | {"beta_too_low", "noise_too_small", "undertrained"}


def look(evidence: Evidence) -> Finding | None:
    """A gap between training and other images that a shift of the data does not explain."""
    gap, fell = evidence.overfit.value, ""
    sure = gap > evidence.fault and evidence.beyond_chance(evidence.overfit)
    if not sure or (evidence.shift_p < LEVEL and not evidence.has_held_out):
        return None
    if evidence.val_fall > evidence.fault:
        fell = f" The validation ELBO fell by {evidence.val_fall:,.0f} nats after its best epoch."
    fault = bool(fell) or gap > WORTH_IMAGES * evidence.fault
    if evidence.memorised < REPEATS:
        fell += (
            " Samples repeat training images: the distance to the nearest training image is "
            f"{evidence.memorised:.0%} of the distance to the nearest other image."
        )
    reason = (
        f"The ELBO of training images is {gap:,.0f} nats higher than that of other images, with "
        f"{evidence.train_images:,.0f} training images.{fell}"
    )
    title = "The model overfits" if fault else "More images would help"
    return Finding("overfitting", title, gap, reason, _advice(evidence), EXPLAINS, fault)


def _advice(evidence: Evidence) -> tuple[Advice, ...]:
    """More or varied images; the weights are those of the best epoch already."""
    options, found = evidence.options, []
    effect = "The gap between training and other images shrinks"
    for name in ("data.num_train", "data.limit"):
        if count := options.get(name):
            found.append(Advice("Train on more images", {name: 4 * count}, effect))
    if "data.augment" in options and not options.get("data.augment"):
        found.append(Advice("Augment the training images", {"data.augment": ["Shift"]}, effect))
    words = "Corrupt the images that the guide sees"
    found.append(Advice(words, {"objective": "Denoising"}, effect))
    return (*found, Advice("Train on more images", {}, "The gap shrinks about as 1 / images"))
