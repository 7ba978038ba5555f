"""The scores of a validation split, and what its encodings say about the latent dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from textwrap import shorten

import numpy as np
import torch

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.posterior.classification import classify
from pyrovae.posterior.elbo import Evaluation, evaluate, summarise
from pyrovae.posterior.encoding import Encoding, encode
from pyrovae.programs.pair import ModelGuidePair

__all__ = ["Validation", "validate"]

#: Number of images that are encoded if the programs have no single latent vector: the moments of
#: several latent sites need many draws per image.
SOME = 200


@dataclass(frozen=True)
class Validation:
    """The scores of a split, and measurements of its encodings.

    Attributes:
        scores: the ELBO and its terms.
        active_units: number of active latent dimensions; None if unknown.
        kl: mean KL per latent dimension, `(D,)`, in nats per image; None if unknown.
        psnr: mean PSNR of the decoded posterior draws and the observations, in decibels; None if
            unknown.
        reason: why the encodings could not be measured; empty if they could.
        classes: accuracy, log loss and calibration error of programs that classify.
    """

    scores: Evaluation
    active_units: int | None = None
    kl: np.ndarray | None = None
    psnr: float | None = None
    reason: str = ""
    classes: dict[str, float] = field(default_factory=dict)


def validate(
    programs: ModelGuidePair, split: Split, engine: Engine, *, seed: int = 0
) -> Validation:
    """Scores a split like `evaluate`, and measures its encodings.

    Programs with one latent vector encode each image once. Programs with several latent sites are
    measured on 200 images. If they cannot be measured, the scores are there all the same.

    Args:
        programs: the pair of programs, on the engine's device.
        split: the images.
        engine: the device and the precision.
        seed: seed of the draws.
    """
    found = classify(programs, split, engine, seed=seed, draws=1)  # It runs after every epoch.
    measured = _measured(programs, split, engine, seed)
    return measured if found is None else replace(measured, classes=found.numbers())


def _measured(programs: ModelGuidePair, split: Split, engine: Engine, seed: int) -> Validation:
    """The scores of a split, and measurements of its encodings."""
    whole = programs.parts() is not None
    try:
        encoded = encode(programs, split if whole else split.spread(SOME), engine, seed=seed)
        psnr = -10 * np.log10(np.maximum(encoded.squared_error, 1e-12)).mean()
        found = _active(encoded), encoded.kl.mean(0), float(psnr), ""
    except Exception as error:  # Programs and parts of the user may raise anything.
        reason = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        return Validation(evaluate(programs, split, engine, seed=seed), reason=reason)
    if not whole:
        return Validation(evaluate(programs, split, engine, seed=seed), *found)
    dims = math.prod(split.images.shape[1:])
    terms = {"rate": encoded.rate, "distortion": encoded.distortion}
    table = {name: torch.from_numpy(own) for name, own in terms.items()}
    return Validation(summarise(table, programs.likelihood, dims, split.groups), *found)


def _active(encoded: Encoding) -> int | None:
    return int(encoded.continuous().active.sum()) if len(encoded) > 1 else None
