"""Do samples repeat training images?"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.data import Split
from pyrovae.evaluation.pairs import squared_distances
from pyrovae.inspection.measures.data import small_images
from pyrovae.inspection.subject import Subject

__all__ = ["measure"]

#: Samples, the largest number of images of each split, and the least number.
SAMPLES, IMAGES, LEAST = 200, 1000, 50


def measure(subject: Subject) -> dict[str, Any]:
    """The median distance of samples to the nearest training image, relative to held-out ones.

    It is divided by the median distance to the nearest held-out image. Both sets have the same
    number of images, so the ratio is about 1 for a model that generalises.
    """
    count = min(len(subject.split), len(subject.train or ()), IMAGES)
    if subject.train is None or subject.name == "train" or count < LEAST:
        return {}
    z, inputs = subject.prior_draws(SAMPLES)
    with subject.quietly(3):
        shown = subject.space.show(z, **inputs).clamp(0, 1).mul(255).round().byte()
    samples = small_images(shown.cpu().numpy())
    splits = subject.train, subject.split
    own, others = (_nearest(samples, split.spread(count)) for split in splits)
    return {"memorised": own / others} if others > 0 else {}


def _nearest(samples: np.ndarray, split: Split) -> float:
    """The median distance to the nearest image of a split."""
    squares = squared_distances(samples, small_images(split.images)).min(1)
    return float(np.median(np.sqrt(np.maximum(squares, 0))))
