"""Small programs with a class per image, and images of known classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pyrovae import (
    DiagonalNormal,
    Engine,
    MixtureVAE,
    MLPDecoder,
    MLPEncoder,
    Normal,
    SemiSupervisedVAE,
    StandardNormal,
)
from pyrovae.data import ArrayData

SHAPE = (1, 4, 4)
CPU = Engine("cpu", "fp32")


def parts() -> dict[str, Any]:
    return {
        "encoder": MLPEncoder(SHAPE, num_outputs=4, hidden=[16]),
        "decoder": MLPDecoder(SHAPE, latent_dim=2, num_maps=1, hidden=[16]),
        "prior": StandardNormal(2),
        "likelihood": Normal(scale=0.3),
        "posterior": DiagonalNormal(2),
        "num_classes": 3,
    }


def small(**arguments: Any) -> SemiSupervisedVAE:
    return SemiSupervisedVAE(**{**parts(), "num_features": 8, **arguments})


def mixture(**arguments: Any) -> MixtureVAE:
    return MixtureVAE(**{**parts(), **arguments})


both = pytest.mark.parametrize("make", [small, mixture])


def squares(count: int = 90, unknown: float = math.nan) -> ArrayData:
    """Images of a bright row, which is the class; every seventh label is not known."""
    labels = np.arange(count) % 3
    noise = np.random.default_rng(0).integers(0, 60, (count, *SHAPE))
    for image, label in zip(noise, labels, strict=True):
        image[0, label] += 190
    known = np.where(np.arange(count) % 7 == 6, unknown, labels).astype(np.float32)
    return ArrayData(noise.astype(np.uint8), known)
