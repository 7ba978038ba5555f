"""Probabilistic PCA: the linear VAE, whose optimum and evidence are exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.randomness import private_randomness

__all__ = ["LinearModel", "fit_ppca"]

PASSES, SPARE = 4, 128


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


def fit_ppca(chunks: Callable[[], Iterable[Tensor]], latent_dim: int) -> LinearModel:
    """Fits probabilistic PCA by maximum likelihood, in passes over observations.

    Subspace iteration from a random start, of `SPARE` more directions than wanted: of 128 of
    4,560 faces the evidence is then that of the exact decomposition to 1e-4 bits/dim. Memory does
    not grow with N.

    Args:
        chunks: gives the observations, `(B, n)` at a time, the same ones each time it is called.
        latent_dim: D, below N and n.

    Raises:
        InputError: if there are too few observations for that many dimensions.

    References:
        Finding Structure with Randomness (Halko et al., 2011, algorithms 4.4 and 5.3),
        https://arxiv.org/abs/0909.4061
    """
    count, mean, variance = _moments(chunks)
    size = len(mean)
    if latent_dim >= min(count, size):
        raise InputError(
            f"ProbabilisticPCA of {latent_dim} latent dimensions needs more than that many "
            f"images and pixels, got {count} and {size}"
        )
    with private_randomness(0, mean.device):
        start = torch.randn(size, min(latent_dim + SPARE, count, size), device=mean.device)
    directions = torch.linalg.qr(start.to(mean))[0]
    for _ in range(PASSES):
        found = sum((x - mean).T @ ((x - mean) @ directions) for x in chunks())
        directions = torch.linalg.qr(found)[0]
    seen = (((x - mean) @ directions).double() for x in chunks())
    values, vectors = torch.linalg.eigh(sum(y.T @ y for y in seen) / count)
    values, vectors = values.flip(0)[:latent_dim], vectors.flip(1)[:, :latent_dim]
    noise = max((variance - values.sum().item()) / (size - latent_dim), 1e-12)
    return LinearModel(mean, directions @ vectors.to(mean), values.to(mean), noise)


def _moments(chunks: Callable[[], Iterable[Tensor]]) -> tuple[int, Tensor, float]:
    """How many observations there are, their mean, and their variance summed over pixels."""
    # Of differences from one observation floats will do: all pixels as doubles take long.
    centre = next(iter(chunks()))[0]
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for x in chunks():
        x = x - centre
        count, total = count + len(x), total + x.sum(0).double()
        square = square + torch.linalg.vector_norm(x, dim=1).double().square().sum()
    mean = total / count
    variance = (square / count - mean.square().sum()).item()
    return count, (centre + mean).to(centre), variance
