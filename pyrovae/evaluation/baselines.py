"""Log p(x) of two baselines: probabilistic PCA, and a distribution of pixels without latents.

If the ELBO of a VAE is below one of them, the VAE has a fault; see `shortfall`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Batches, spread
from pyrovae.distributions.ppca import fit_ppca
from pyrovae.evaluation.estimates import Estimate
from pyrovae.likelihoods import Likelihood
from pyrovae.posterior import Evaluation
from pyrovae.posterior.elbo import summarise
from pyrovae.posterior.passes import observed, seed_of
from pyrovae.utils.errors import InputError
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.randomness import private_randomness

__all__ = [
    "UnequalPixels",
    "evaluate_without_latent",
    "log_evidence_of_ppca",
    "log_evidence_without_latent",
    "shortfall",
    "simpler_models",
    "structureless",
    "without_structure",
]

#: The names of the two baselines.
WITHOUT_LATENT = "without latents"
PPCA = "probabilistic PCA of {:,} training images, latent dimensions: {:,}"
#: Images that probabilistic PCA is fitted to: a few seconds of computation.
PPCA_IMAGES = 1000
#: The least number of images per dimension of probabilistic PCA.
PPCA_RATIO = 4


class UnequalPixels(InputError):
    """Other pixels are missing in some images than in others."""


def most_dimensions(latent_dim: int, images: np.ndarray) -> int:
    """The dimensions of the PCA to compare with: those of the VAE, or a quarter of the images.

    More dimensions would leave too small a noise, and a bad score.
    """
    return min(latent_dim, len(images) // PPCA_RATIO)


def simpler_models(
    likelihood: Likelihood,
    train: np.ndarray,
    test: np.ndarray,
    latent_dim: int,
    *,
    flip: bool = False,
    most: int = 0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Log p(x) of each test image under both baselines, by their names.

    Probabilistic PCA is fitted to 1,000 of the training images at most. It is left out if there
    are too few of them, or if images differ in which pixels are seen.

    Args:
        likelihood: decides how images are observed, and the scale of the log densities.
        train: uint8 images `(N, C, H, W)` to fit to.
        test: uint8 images `(M, C, H, W)` to score.
        latent_dim: latent dimensions of the VAE.
        flip: whether training mirrors images.
        most: images that the model without latents is fitted to; 0 means all.
        seed: seed of the noise, and of the randomness of observing.

    Returns:
        `(M,)` by name, in nats.
    """
    some, found = spread(train, PPCA_IMAGES), {}
    if dim := most_dimensions(latent_dim, some):
        with suppress(InputError):
            linear = log_evidence_of_ppca(likelihood, some, test, dim, flip=flip, seed=seed)
            found[PPCA.format(len(some), dim)] = linear
    many = spread(train, most) if most else train
    return found | {WITHOUT_LATENT: log_evidence_without_latent(likelihood, many, test, seed=seed)}


def shortfall(
    elbo: Tensor, simpler: Mapping[str, Tensor], groups: np.ndarray | None = None
) -> tuple[str, Estimate]:
    """How far the ELBO is below log p(x) of the best of some simpler models.

    Args:
        elbo: the ELBO of each image, `(M,)`, in nats.
        simpler: log p(x) of the same images under each model, `(M,)`, by its name.
        groups: the group of each image, such as a patient; see `Estimate.of`.

    Returns:
        The name of the best model, and the mean of log p(x) minus the ELBO. Its standard error is
        that of paired differences, which is far smaller than the errors of the two means. The VAE
        is worse than the model if the estimate is `sure`.
    """
    name = max(simpler, key=lambda own: float(simpler[own].mean()))
    return name, Estimate.of(simpler[name] - elbo, groups)


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

    The model is fitted to and scores pixels in [0, 1]. Discrete pixels get uniform noise of the
    width of one level: the density is then a lower bound of the log probability. The result is
    on the scale of the likelihood's log densities.

    Args:
        likelihood: decides how images are observed, and the scale of the log densities.
        train: uint8 images `(N, C, H, W)` to fit to.
        test: uint8 images `(M, C, H, W)` to score.
        latent_dim: latent dimensions of the linear model.
        flip: whether training mirrors images; if so, the fit includes the mirrored images.
        seed: seed of the noise, and of the randomness of observing.

    Returns:
        `(M,)`, in nats.

    Raises:
        UnequalPixels: if other pixels are missing in some images.
        InputError: if there are too few images for `latent_dim` dimensions.

    References:
        Probabilistic Principal Component Analysis (Tipping and Bishop, 1999, equation 4)
    """
    first = next(_continuous(likelihood, train[:500], seed)).flatten(1)
    seen = ~first.isnan().all(0)
    columns = slice(None) if seen.all() else seen  # A mask copies, also where all are seen.

    def flat(images: np.ndarray, both: bool = False) -> Iterator[Tensor]:
        for x in _continuous(likelihood, images, seed):
            x = x.double()
            for own in (x, x.flip(-1))[: 1 + both]:
                pixels = own.flatten(1)[:, columns]
                if pixels.isnan().any():
                    raise UnequalPixels(
                        "probabilistic PCA needs the same seen pixels in all images"
                    )
                yield pixels

    model = fit_ppca(lambda: flat(train, flip), latent_dim)
    found = [model.log_prob(x) for x in flat(test)]
    size = int(seen.sum())
    return torch.cat(found) - size * math.log(_levels(likelihood) / (likelihood.grey_levels or 1))


def _levels(likelihood: Likelihood) -> int:
    return 2 if likelihood.grey_levels is None else 256


def _continuous(likelihood: Likelihood, images: np.ndarray, seed: int) -> Iterator[Tensor]:
    """Observations as continuous pixels in [0, 1]; each level is one interval."""
    levels = _levels(likelihood)
    seen = observed(likelihood, images, seed=seed, batch_size=500)
    for place, x in enumerate(seen):
        if likelihood.grey_levels == levels:  # Observations of a density are continuous already.
            yield x
        else:
            with private_randomness(seed_of(seed, -1 - place), x.device):
                yield ((x * (levels - 1)).round() + torch.rand(x.shape)) / levels


def as_evaluation(
    log_evidence: Tensor,
    likelihood: Likelihood,
    images: np.ndarray,
    groups: np.ndarray | None = None,
) -> Evaluation:
    """Returns log p(x) of a model as an `Evaluation` whose rate is 0.

    Args:
        log_evidence: log p(x) of each image, `(M,)`, in nats.
        likelihood: the likelihood that defines the scale of these values.
        images: the images, `(M, C, H, W)`.
        groups: the group of each image, such as a patient; see `Estimate.of`.
    """
    nothing = torch.zeros_like(log_evidence)
    table = {"rate": nothing, "distortion": -log_evidence}
    return summarise(table, likelihood, math.prod(images.shape[1:]), groups)


def evaluate_without_latent(
    likelihood: Likelihood, train: np.ndarray, test: np.ndarray, *, seed: int = 0
) -> Evaluation:
    """The baseline without latents, as an `Evaluation` whose rate is 0.

    Args:
        likelihood: decides how images are observed, and the family of the pixels.
        train: uint8 images `(N, C, H, W)` to fit to.
        test: uint8 images `(M, C, H, W)` to score.
        seed: seed of the randomness of observing.
    """
    found = log_evidence_without_latent(likelihood, train, test, seed=seed)
    return as_evaluation(found, likelihood, test)


@torch.no_grad()
def log_evidence_without_latent(
    likelihood: Likelihood, train: np.ndarray, test: np.ndarray, *, seed: int = 0
) -> Tensor:
    """Log p(x) of each image under `Likelihood.baseline`, fitted to `train`.

    Args:
        likelihood: decides how images are observed, and the family of the pixels.
        train: uint8 images `(N, C, H, W)` to fit to.
        test: uint8 images `(M, C, H, W)` to score.
        seed: seed of the randomness of observing.

    Returns:
        `(M,)`, in nats.
    """

    def passes() -> Iterator[Tensor]:
        return map(likelihood.scored, Batches(train, 100, seed=seed, shuffle=False).epoch(0))

    found = []
    with private_randomness(seed, torch.device("cpu")), evaluation_mode(likelihood):
        # In doubles: the variance of an almost constant pixel is a small difference.
        mean, square, seen = torch.zeros(3, *train.shape[1:], dtype=torch.double)
        for x in passes():
            x = x.double()
            mean += x.nansum(0)
            square += x.square().nansum(0)
            seen += (~x.isnan()).sum(0)  # All, unless pixels are missing.
        mean, square = mean / seen.clamp(min=1), square / seen.clamp(min=1)
        variance = (square - mean.square()).clamp(min=0)
        pixels = likelihood.baseline(passes, mean.float(), variance.float())
        for x in observed(likelihood, test, seed=seed):
            found.append(pixels.log_prob(x).double())
    return torch.cat(found)


def structureless(
    likelihood: Likelihood, fitted: np.ndarray, scored: np.ndarray, *, seed: int = 0
) -> list[float]:
    """Mean log p(x) of models without structure: a scale per pixel, or one scale and one latent.

    Binary pixels have the first model only: PCA is a loose bound for them.

    Args:
        likelihood: decides how images are observed, and the scale of the log densities.
        fitted: uint8 images `(N, C, H, W)` to fit to.
        scored: uint8 images `(M, C, H, W)` to score.
        seed: seed of the noise, and of the randomness of observing.
    """
    # Fitted to both: pixels that are constant in a few training images would cost infinitely.
    everything = np.concatenate([fitted, scored])
    found = [log_evidence_without_latent(likelihood, everything, scored, seed=seed)]
    if likelihood.grey_levels is not None:
        with suppress(InputError):  # Too few images.
            found.append(log_evidence_of_ppca(likelihood, fitted, scored, 1, seed=seed))
    return [float(own.mean()) for own in found]


def without_structure(models: Sequence[float], elbo: float) -> float:
    """The better model without structure if it is far below an ELBO, else the worse one.

    Far below means by at least half of the distance to the worse one. A scale per pixel may be as
    good as a VAE with one scale, as for images with black borders, and then says nothing about the
    gain by its latents.

    Args:
        models: their mean log p(x), see `structureless`.
        elbo: of the programs.

    Example:
        >>> without_structure([10.0, 40.0], 90.0), without_structure([10.0, 40.0], 50.0)
        (40.0, 10.0)
    """
    worse, better = min(models), max(models)
    return better if elbo - better >= (elbo - worse) / 2 else worse
