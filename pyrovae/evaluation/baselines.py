"""What a linear model reaches: probabilistic PCA, whose evidence is exact."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Batches, spread
from pyrovae.likelihoods import Likelihood
from pyrovae.linear import fit_ppca
from pyrovae.randomness import private_randomness

__all__ = ["log_evidence_of_ppca"]

#: Pixels and channels of all images that are fitted to, held in memory as floats.
NUMBERS_FITTED = 2**27


@torch.no_grad()
def log_evidence_of_ppca(
    likelihood: Likelihood,
    train: np.ndarray,
    test: np.ndarray,
    latent_dim: int,
    *,
    flip: bool = False,
    seed: int = 0,
) -> Tensor:
    """Exact log p(x) of each test image under probabilistic PCA of the training images.

    Both are dequantised with uniform noise of one level, to pixels in [0, 1]: the density there
    bounds the probability of the discrete image, also of a binary one, of two levels. What the
    likelihood's own numbers are short of or beyond such a density is added.

    Args:
        likelihood: says how images are observed, and on which scale its log densities are.
        train: uint8 images `(N, C, H, W)`; of very many, as many as fit into 512 MB are fitted
            to, spread evenly.
        test: uint8 images `(M, C, H, W)` to score.
        latent_dim: of the linear model.
        flip: whether training mirrors images: then the mirrored ones are fitted to as well.
        seed: seed of the noise, and of what is random in observing.

    Returns:
        `(M,)`, in nats.

    Raises:
        InputError: if there are too few images for that many dimensions.
    """
    size = math.prod(train.shape[1:])
    some = torch.from_numpy(spread(train, NUMBERS_FITTED // (size * (1 + flip))))
    levels = 2 if likelihood.grey_levels is None else 256
    with private_randomness(seed, torch.device("cpu")):
        chosen = _dequantized(likelihood, some, levels)
        seen = torch.cat([chosen, chosen.flip(-1)]) if flip else chosen
        model = fit_ppca(seen.flatten(1), latent_dim)
        found = [
            model.log_prob(_dequantized(likelihood, batch, levels).flatten(1))
            for batch in Batches(test, 100, seed=seed, shuffle=False).epoch(0)
        ]
    return torch.cat(found) - size * math.log(levels / (likelihood.grey_levels or 1))


def _dequantized(likelihood: Likelihood, images: Tensor, levels: int) -> Tensor:
    """Images as continuous values in [0, 1], each level an interval of its own."""
    values = likelihood.observe(images) if levels == 2 else images
    return (values + torch.rand(images.shape)) / levels
