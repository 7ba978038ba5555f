"""What a linear model reaches: probabilistic PCA, whose evidence is exact."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Batches
from pyrovae.distributions.ppca import fit_ppca
from pyrovae.likelihoods import Likelihood
from pyrovae.posterior import Evaluation
from pyrovae.posterior.elbo import summarise
from pyrovae.posterior.passes import observed, seed_of
from pyrovae.utils.randomness import private_randomness

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


def evaluate_without_latent(
    likelihood: Likelihood, train: np.ndarray, test: np.ndarray, *, seed: int = 0
) -> Evaluation:
    """The baseline that knows no latent, as an `Evaluation` whose rate is 0.

    Args:
        likelihood: says how images are observed, and which family the pixels have.
        train: uint8 images `(N, C, H, W)` to fit to.
        test: uint8 images `(M, C, H, W)` to score.
        seed: seed of what is random in observing.
    """
    found = log_evidence_without_latent(likelihood, train, test, seed=seed)
    return summarise(torch.zeros_like(found), -found, likelihood, math.prod(test.shape[1:]))


@torch.no_grad()
def log_evidence_without_latent(
    likelihood: Likelihood, train: np.ndarray, test: np.ndarray, *, seed: int = 0
) -> Tensor:
    """Log p(x) of each image under one distribution a pixel, fitted to the training split.

    Args:
        likelihood: says how images are observed, and which family the pixels have.
        train: uint8 images `(N, C, H, W)` to fit to.
        test: uint8 images `(M, C, H, W)` to score.
        seed: seed of what is random in observing.

    Returns:
        `(M,)`, in nats.
    """
    found = []
    with private_randomness(seed, torch.device("cpu")):
        # In doubles: the variance of a pixel that hardly varies is a small difference.
        mean, square = torch.zeros(2, *train.shape[1:], dtype=torch.double)
        for batch in Batches(train, 100, seed=seed, shuffle=False).epoch(0):
            x = likelihood.scored(batch).double()
            mean += x.sum(0) / len(train)
            square += x.square().sum(0) / len(train)
        variance = (square - mean.square()).clamp(min=0)
        pixels = likelihood.without_latent(mean.float(), variance.float())
        for x in observed(likelihood, test, seed=seed):
            found.append(pixels.log_prob(x).double())
    return torch.cat(found)
