"""Probabilistic PCA: the linear VAE, whose optimum and evidence are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.randomness import private_randomness

__all__ = ["LinearModel", "fit_ppca"]


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

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Exact log p(x) of observations `(B, n)`: `(B,)`, in nats.

        $$\log p(x) = -\tfrac{1}{2} \left( n \log 2\pi + \sum_d \log \lambda_d + (n - D) \log
        \sigma^2 + \sum_d \frac{y_d^2}{\lambda_d} + \frac{\lVert x - m \rVert^2 - \lVert y
        \rVert^2}{\sigma^2} \right), \quad y = U^T (x - m)$$
        """
        x = (x - self.mean).double()
        y = x @ self.basis.double()
        eigenvalues, noise = self.eigenvalues.double(), self.noise_variance
        size, rank = self.basis.shape
        rest = (x.square().sum(-1) - y.square().sum(-1)).clamp(min=0)
        log_volume = eigenvalues.log().sum() + (size - rank) * math.log(noise)
        distance = (y.square() / eigenvalues).sum(-1) + rest / noise
        return -0.5 * (size * math.log(2 * math.pi) + log_volume + distance)


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
        # Twice as many as wanted: the evidence is then that of the exact one to 1e-4 bits/dim.
        rank = min(2 * latent_dim + 20, count, size)
        _, singular, basis = torch.svd_lowrank(x, q=rank, niter=3)
    eigenvalues = (singular[:latent_dim].square() / count).float()
    rest = x.square().sum().item() / count - eigenvalues.sum().item()
    noise = max(rest / (size - latent_dim), 1e-12)
    return LinearModel(mean, basis[:, :latent_dim], eigenvalues, noise)
