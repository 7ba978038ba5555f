"""The images: do both splits have one distribution, are there copies, are images constant?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from pyrovae.data import Split, gather
from pyrovae.data.rows import one_per_group, spread_rows
from pyrovae.evaluation.pairs import chunks, squared_distances
from pyrovae.inspection.aggregate import mmd_test
from pyrovae.inspection.subject import Subject
from pyrovae.posterior import image_terms

__all__ = ["measure", "small_images"]

#: Images of each split for tests of the distribution, training images for copies, and inspected
#: images for copies.
TESTED, KNOWN, LOOKED_AT = 500, 20_000, 1000
#: Pixels per side of the small images that are compared.
SMALL = 8
#: A copy differs by less than this root mean square: the error of JPEG files, in grey levels and
#: relative to the contrast of the image, since a black background makes any difference small.
NEAR, NEAR_OF_CONTRAST = 2.0, 0.05
#: The error of a file does not follow the image. A difference that does is another brightness.
FOLLOWS = 0.5
PERMUTATIONS = 2000


def measure(subject: Subject) -> dict[str, Any]:
    """Fields of `Evidence` on the images."""
    own = subject.split.spread(LOOKED_AT)
    found: dict[str, Any] = {"constant": float((_spans(own.images) == 0).mean())}
    if subject.train is None or len(subject.train) < 2:
        return found
    known = subject.train.spread(KNOWN)
    small = small_images(known.images)
    found["distinct"] = len(np.unique(small.round(3), axis=0)) / len(small)
    rows = np.arange(len(small)) if known.groups is None else one_per_group(known.groups)
    return found | _shift(subject, small[rows]) | _copies(subject, own, known, small)


def _spans(images: np.ndarray) -> np.ndarray:
    flat = np.asarray(images).reshape(len(images), -1)
    return flat.max(1).astype(int) - flat.min(1)


def small_images(images: np.ndarray) -> np.ndarray:
    """Images `(N, C, H, W)` reduced to a few pixels per side, `(N, F)`, in grey levels."""
    parts = []
    for part in chunks(len(images), 1000):
        some = torch.from_numpy(gather(images, np.arange(len(images))[part])).float()
        height, width = (min(SMALL, side) for side in some.shape[-2:])
        parts.append(adaptive_avg_pool2d(some, (height, width)).flatten(1).numpy())
    return np.concatenate(parts).astype(float)


def _shift(subject: Subject, small: np.ndarray) -> dict[str, float]:
    """The p-value of a test that both splits have one distribution of reduced images.

    Args:
        subject: what is inspected.
        small: reduced training images, one per group.
    """
    some = subject.split.independent().spread(TESTED)
    few = len(some) < 20 or len(small) < 20
    if subject.name == "train" or few or not np.ptp(small, 0).any():  # Equal images.
        return {}
    both = small[spread_rows(len(small), TESTED)], small_images(some.images)
    test = mmd_test(*both, permutations=PERMUTATIONS, seed=subject.seed)
    return {"shift_p": test.p_value}


def _copies(subject: Subject, own: Split, known: Split, small: np.ndarray) -> dict[str, float]:
    """The share of inspected images that are copies of training images, and their ELBO's gain."""
    if subject.name == "train":
        return {}
    parts = np.array_split(small_images(own.images), 10)
    nearest = [squared_distances(part, small).argmin(1) for part in parts]
    twins = gather(known.images, np.concatenate(nearest)).reshape(len(own), -1).astype(float)
    copies = _are_copies(np.asarray(own.images).reshape(len(own), -1).astype(float), twins)
    found = {"duplicates": float(copies.mean())}
    if not copies.any() or copies.all():
        return found
    terms = image_terms(subject.programs, own, subject.engine, seed=subject.seed)
    elbo = -(terms["rate"] + terms["distortion"]).numpy()
    return found | {"duplicate_gain": float(elbo[copies].mean() - elbo[~copies].mean())}


def _are_copies(images: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """Whether each image `(N, F)` is its twin up to the error of a file; not constant images."""
    off = images - twins
    contrast, error = images.std(1), np.sqrt(np.square(off).mean(1))
    shared = np.mean(off * (images - images.mean(1, keepdims=True)), 1)
    near = error < np.minimum(NEAR, NEAR_OF_CONTRAST * contrast)
    return near & (np.abs(shared) <= FOLLOWS * contrast * error)
