"""Where training starts: random networks, or the best linear model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import gather
from pyrovae.errors import InputError
from pyrovae.evaluation import private_randomness
from pyrovae.likelihoods import Likelihood
from pyrovae.vae import VAE

__all__ = ["LinearModel", "ProbabilisticPCA", "RandomStart", "Start", "fit_ppca"]


class Start(ABC):
    """Sets the parameters of a VAE before the first step."""

    @abstractmethod
    def __call__(self, vae: VAE, images: np.ndarray, flip: bool) -> None:
        """Changes parameters in place, given the training images, uint8 `(N, C, H, W)`."""


class RandomStart(Start):
    """The random weights that the networks were made with."""

    def __call__(self, vae: VAE, images: np.ndarray, flip: bool) -> None:
        """Changes nothing."""


class ProbabilisticPCA(Start):
    r"""The optimum of the linear VAE, from which the networks then depart.

    The decoder starts as $W z + m$ and the encoder as the exact posterior mean, where for the
    D largest eigenvalues $\lambda$ (eigenvectors U) of the images' covariance

    $$W = U (\Lambda - \sigma^2)^{1/2}, \qquad q(z \mid x) = \mathcal{N}\left(\Lambda^{-1} W^T
    (x - m),\; \sigma^2 \Lambda^{-1}\right)$$

    In this basis the posterior of the linear model is diagonal, so that the ELBO starts at the
    evidence of probabilistic PCA, and the posteriors add up to the prior: samples look like the
    data at once. Needs networks with `shortcut`, `DiagonalNormal`, and a density of pixels with
    one map a channel, its location. A likelihood with a `start_at` method is told the scale, and
    answers with what it takes: a fixed one is kept, directions of less variance start unused.

    Args:
        num_images: how many images to fit to, spread evenly over the split; they are held in
            memory as floats, twice if training mirrors them.

    Raises:
        ValueError: if `num_images` is below 2.

    References:
        Probabilistic Principal Component Analysis (Tipping and Bishop, 1999, equations 7 to 9);
        Don't Blame the ELBO! (Lucas et al., 2019, section 4), https://arxiv.org/abs/1911.02469
    """

    def __init__(self, num_images: int = 5000) -> None:
        if num_images < 2:
            raise ValueError(f"num_images must be at least 2, got {num_images}")
        self.num_images = num_images

    @torch.no_grad()
    def __call__(self, vae: VAE, images: np.ndarray, flip: bool) -> None:
        """Sets networks and likelihood; the posteriors' parameters follow from the encoder."""
        start_encoder = _ability(vae.guide.encoder, "start_linear")
        start_decoder = _ability(vae.model.decoder, "start_linear")
        features = _ability(vae.guide.posterior, "features")
        count = min(self.num_images, len(images))
        chosen = np.linspace(0, len(images) - 1, count).astype(int)
        some = torch.from_numpy(gather(images, chosen))
        model = fit_ppca(
            vae.observe(torch.cat([some, some.flip(-1)]) if flip else some).flatten(1),
            vae.model.prior.latent_dim,
        )
        variance = _start_scale(vae.likelihood, model.noise_variance**0.5) ** 2
        eigenvalues = model.eigenvalues.clamp(min=variance)
        weight = model.basis * (eigenvalues - variance).sqrt()
        start_decoder(weight, model.mean)
        # Every map from images is the same function of (loc, scale), and linear in loc.
        scale = (variance / eigenvalues).sqrt()
        to_loc = (weight / eigenvalues).T
        zero = features(torch.zeros_like(scale), scale)
        columns = features(to_loc.T, scale.expand(len(model.mean), -1)) - zero
        start_encoder(columns.T, features(-to_loc @ model.mean, scale))


def _start_scale(likelihood: Likelihood, scale: float) -> float:
    if likelihood.grey_levels != 256 or likelihood.num_maps(1) != 1:
        raise InputError(
            f"{type(likelihood).__name__} is no density of pixels around one location, which "
            "ProbabilisticPCA starts from: choose --start RandomStart"
        )
    start_at: Callable[[float], float] = getattr(likelihood, "start_at", lambda scale: scale)
    return start_at(scale)


def _ability(part: object, name: str) -> Callable[..., Any]:
    if not hasattr(part, name):
        raise InputError(
            f"{type(part).__name__} cannot start from ProbabilisticPCA (it has no {name}): "
            "choose --start RandomStart"
        )
    return getattr(part, name)


@dataclass(frozen=True)
class LinearModel:
    """Probabilistic PCA: x is Normal with mean m and covariance of D axes plus noise.

    Attributes:
        mean: m, `(n,)`.
        basis: unit vectors U of the D axes, `(n, D)`.
        eigenvalues: the variance along each, noise included, `(D,)`.
        noise_variance: the mean variance along all other directions.
    """

    mean: Tensor
    basis: Tensor
    eigenvalues: Tensor
    noise_variance: float


def fit_ppca(x: Tensor, latent_dim: int) -> LinearModel:
    """Fits probabilistic PCA by maximum likelihood, with a randomised decomposition.

    Args:
        x: observations, `(N, n)`.
        latent_dim: D, below N and n.

    Raises:
        InputError: if there are too few observations for that many dimensions.

    References:
        Finding Structure with Randomness (Halko et al., 2011, algorithm 5.1),
        https://arxiv.org/abs/0909.4061
    """
    count, size = x.shape
    if latent_dim >= min(count, size):
        raise InputError(
            f"ProbabilisticPCA of {latent_dim} latent dimensions needs more than that many "
            f"images and pixels, got {count} and {size}"
        )
    mean = x.mean(0)
    x = x - mean
    with private_randomness(0, x.device):
        rank = min(latent_dim + 20, count, size)
        _, singular, basis = torch.svd_lowrank(x, q=rank, niter=3)
    eigenvalues = (singular[:latent_dim].square() / count).float()
    rest = x.square().sum().item() / count - eigenvalues.sum().item()
    noise = max(rest / (size - latent_dim), 1e-12)
    return LinearModel(mean, basis[:, :latent_dim], eigenvalues, noise)
