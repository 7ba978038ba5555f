"""The scale of a likelihood's observations, which need not be [0, 1]."""

from __future__ import annotations

import numpy as np

from pyrovae.likelihoods import Likelihood
from pyrovae.posterior.passes import observed

__all__ = ["scale_of"]


def scale_of(likelihood: Likelihood, images: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """The range of the observations of images: [0, 1] if it holds all, else smallest to largest.

    Args:
        likelihood: maps images to observations.
        images: 8-bit, `(N, C, H, W)`.
        seed: seed of the noise of the observations.

    Example:
        >>> from pyrovae import Normal
        >>> scale_of(Normal(0.1), np.zeros((2, 1, 4, 4), np.uint8))
        (0.0, 1.0)
    """
    every = (x.nan_to_num(0.0) for x in observed(likelihood, images, seed=seed))
    ends = [(float(x.min()), float(x.max())) for x in every]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
