"""Scores of a VAE's samples against real images, in a feature space."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split, gather
from pyrovae.engine import Engine
from pyrovae.evaluation.distances import frechet_distance, mmd
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.features import features_of
from pyrovae.evaluation.neighbours import Neighbourhoods
from pyrovae.posterior.passes import in_order
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.randomness import private_randomness

__all__ = ["sample_quality"]

_BATCH = 100


@torch.no_grad()
def sample_quality(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    features: Callable[[Tensor], Tensor],
    engine: Engine,
    num_samples: int,
    *,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Scores samples against real images: MMD, density, coverage and Frechet distance.

    Samples come from `ModelGuidePair.sample`, without pixel noise. Programs that take attributes
    get those of real images, drawn without replacement until all are used. Where the likelihood
    leaves pixels out, each sample has the missing pixels of one of these images, grey in both.
    Samples depend on the seed alone; weights and global random generators stay unchanged.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or uint8 images `(N, C, H, W)` if the programs need no attributes.
        features: maps floats in [0, 1], `(B, C, H, W)`, to `(B, F)`: see `named_features`.
        engine: where to compute.
        num_samples: how many samples to draw; best as many as there are images.
        seed: seed of the samples.

    Returns:
        `mmd`, `density`, `coverage` and `frechet`, as returned by the functions of these names
        (the last by `frechet_distance`), and `num_features`, F.

    Raises:
        InputError: if there are too few images or samples, or the features have a wrong shape.
    """
    if num_samples < 3 or len(images) < 7:
        raise InputError(
            f"{len(images)} images and {num_samples} samples: allowed are at least 7 and 3"
        )
    batches = in_order(programs, images, engine, _BATCH)
    with private_randomness(seed, engine.device):
        shown = (_seen(programs, x, x / 255) for x in batches.epoch(0))
        pieces = [features_of(features, x, engine.device) for x in shown]
        drawn = _drawn(programs, images, batches.attributes, num_samples)
        others = [features_of(features, x, engine.device) for x in drawn]
    real, samples = np.concatenate(pieces), np.concatenate(others)
    near = Neighbourhoods.of(real, samples, k=5)
    return {
        "mmd": mmd(real, samples),
        "density": near.density(),
        "coverage": near.coverage(),
        "frechet": frechet_distance(real, samples),
        "num_features": Estimate(float(real.shape[1])),
    }


def _drawn(
    programs: ModelGuidePair, images: Split | np.ndarray, attributes: Tensor, count: int
) -> Iterator[Tensor]:
    """Yields batches of samples, each with the attributes and missing pixels of a real image."""
    pixels = images.images if isinstance(images, Split) else images
    rounds = -(-count // len(attributes))
    rows = torch.cat([torch.randperm(len(attributes)) for _ in range(rounds)])[:count]
    for chosen in rows.split(_BATCH):
        given = attributes[chosen.to(attributes.device)] if programs.attributes else None
        samples = programs.sample(len(chosen), given).float()
        real = torch.from_numpy(gather(pixels, chosen.numpy())).to(samples.device)
        yield _seen(programs, real, samples)


def _seen(programs: ModelGuidePair, real: Tensor, images: Tensor) -> Tensor:
    """The images with grey in place of the pixels that are missing in real uint8 images."""
    if not programs.likelihood.leaves_out:
        return images
    return torch.where(programs.likelihood.observe(real).isnan(), 0.5, images)
