"""What a linear model reaches: probabilistic PCA, whose evidence is exact."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pyrovae.evaluation.passes import observed, seed_of
from pyrovae.likelihoods import Likelihood
from pyrovae.linear import fit_ppca
from pyrovae.randomness import private_randomness

__all__ = ["log_evidence_of_ppca"]


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

    Both are seen as pixels in [0, 1], discrete ones with uniform noise of one level: of them the
    density is a lower bound of the log probability, on the likelihood's own scale.

    Args:
        likelihood: says how images are observed, and on which scale its log densities are.
        train: uint8 images `(N, C, H, W)`, all of which are fitted to.
        test: uint8 images `(M, C, H, W)` to score.
        latent_dim: of the linear model.
        flip: whether training mirrors images: then the mirrored ones are fitted to as well.
        seed: seed of the noise, and of what is random in observing.

    Returns:
        `(M,)`, in nats.

    Raises:
        InputError: if there are too few images for that many dimensions.

    References:
        Probabilistic Principal Component Analysis (Tipping and Bishop, 1999, equation 4)
    """

    def chunks() -> Iterator[Tensor]:
        for x in _continuous(likelihood, train, seed):
            x = x.double()
            yield x.flatten(1)
            if flip:
                yield x.flip(-1).flatten(1)

    model = fit_ppca(chunks, latent_dim)
    found = [model.log_prob(x.flatten(1)) for x in _continuous(likelihood, test, seed)]
    size = math.prod(train.shape[1:])
    return torch.cat(found) - size * math.log(_levels(likelihood) / (likelihood.grey_levels or 1))


def _levels(likelihood: Likelihood) -> int:
    return 2 if likelihood.grey_levels is None else 256


def _continuous(likelihood: Likelihood, images: np.ndarray, seed: int) -> Iterator[Tensor]:
    """What is observed as continuous pixels in [0, 1], each level an interval of its own."""
    levels = _levels(likelihood)
    seen = observed(likelihood, images, seed=seed, batch_size=500)
    for place, x in enumerate(seen):
        if likelihood.grey_levels == levels:  # A density's are continuous already.
            yield x
        else:
            with private_randomness(seed_of(seed, -1 - place), x.device):
                yield ((x * (levels - 1)).round() + torch.rand(x.shape)) / levels
