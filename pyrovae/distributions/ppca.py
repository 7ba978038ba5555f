"""Probabilistic PCA: the linear VAE, with exact optimum and evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.utils.errors import InputError
from pyrovae.utils.randomness import private_randomness

__all__ = ["LinearModel", "fit_ppca"]

#: The smallest noise variance: that of rounding errors.
MIN_VARIANCE = 1e-12

#: Bounds on the block size, which is otherwise the number of latent dimensions.
LEAST_BLOCK, LARGEST_BLOCK = 64, 256

#: The search ends if growing the Krylov space by this share changes the evidence by less than the
#: tolerance, in bits per dimension.
GROWTH, TOLERANCE = 0.2, 1e-6


@dataclass(frozen=True)
class LinearModel:
    """Probabilistic PCA: x is Normal with mean m, and its covariance is that of D axes plus noise.

    All tensors are float64.

    Attributes:
        mean: m, `(n,)`.
        basis: unit vectors U of the D axes, `(n, D)`.
        eigenvalues: the variance along each axis, noise included, `(D,)`.
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
        x = x.double() - self.mean
        y, eigenvalues, noise = x @ self.basis, self.eigenvalues, self.noise_variance
        size, rank = self.basis.shape
        rest = (x.square().sum(-1) - y.square().sum(-1)).clamp(min=0)
        log_volume = eigenvalues.log().sum() + (size - rank) * math.log(noise)
        distance = (y.square() / eigenvalues).sum(-1) + rest / noise
        return -0.5 * (size * math.log(2 * math.pi) + log_volume + distance)


def fit_ppca(chunks: Callable[[], Iterable[Tensor]], latent_dim: int) -> LinearModel:
    """Fits probabilistic PCA by maximum likelihood, in several passes over the observations.

    Block Krylov iteration from a random start finds the axes, in the observations' precision. It
    ends when the evidence changes by less than 1e-6 bits/dim. Variances are then computed in
    float64. For float64 observations, the evidence differs from that of the exact decomposition
    by less than 1e-4 bits/dim, for any number of latent dimensions. Memory is that of a few times
    D + 256 images and does not grow with N.

    Args:
        chunks: returns the observations in chunks `(B, n)`, the same at every call.
        latent_dim: D, below N - 1 and n: N images span N - 1 directions, and the noise needs one.

    Raises:
        InputError: if there are too few observations or pixels for D.

    References:
        Randomized Block Krylov Methods for Stronger and Faster Approximate Singular Value
        Decomposition (Musco and Musco, 2015, algorithm 2), https://arxiv.org/abs/1504.05477
    """
    count, mean, variance = _moments(chunks)
    size = len(mean)
    if latent_dim >= min(count - 1, size):
        raise InputError(
            f"ProbabilisticPCA of {latent_dim} latent dimensions needs more than that many images "
            f"and pixels (at least {latent_dim + 2} images), got {count} and {size}"
        )

    def centred() -> Iterable[Tensor]:
        return (x - mean.to(x) for x in chunks())

    def times_covariance(directions: Tensor) -> Tensor:
        found = torch.zeros_like(directions)
        for x in centred():
            found += x.T @ (x @ directions)
        return found / count

    largest = min(count - 1, size)
    block = min(max(latent_dim, LEAST_BLOCK), LARGEST_BLOCK, largest)
    with private_randomness(0, mean.device):
        start = torch.randn(size, block, device=mean.device).to(next(iter(chunks())))
    basis = _leading(times_covariance, start, latent_dim, largest, variance)
    return _within(centred, mean, basis)


def _leading(
    times_covariance: Callable[[Tensor], Tensor],
    start: Tensor,
    wanted: int,
    largest: int,
    variance: float,
) -> Tensor:
    """Unit vectors `(n, wanted)` of the largest eigenvalues of a covariance matrix.

    Args:
        times_covariance: the matrix times vectors `(n, B)`.
        start: random vectors, `(n, B)`.
        wanted: the number of eigenvectors.
        largest: an upper bound on the rank of the matrix.
        variance: the sum of all eigenvalues.
    """
    # The start lies in the range of the matrix: `largest` directions then span the whole range.
    block = torch.linalg.qr(times_covariance(start))[0]
    space, images = block, times_covariance(block)
    checked, before = 0, math.nan
    while True:
        width, full = space.shape[1], space.shape[1] >= largest
        if full or (width > wanted and width >= (1 + GROWTH) * checked):
            products = (space.T @ images).double()
            products = (products + products.T) / 2
            values = torch.linalg.eigvalsh(products).flip(0)[:wanted]
            now = _evidence(values, len(space), variance)
            if full or abs(now - before) < TOLERANCE:
                vectors = torch.linalg.eigh(products)[1].flip(1)[:, :wanted]
                return space.double() @ vectors
            checked, before = width, now
        block = images[:, -block.shape[1] :][:, : largest - width]
        for _ in range(2):  # Twice, for the rounding errors of nearly dependent vectors.
            block = torch.linalg.qr(block - space @ (space.T @ block))[0]
        space = torch.cat([space, block], 1)
        images = torch.cat([images, times_covariance(block)], 1)


def _evidence(values: Tensor, size: int, variance: float) -> float:
    """The mean log density of the fitted observations, up to a constant, in bits per dimension."""
    rest = size - len(values)
    noise = max(variance - values.sum().item(), 0) / rest
    volume = values.clamp(min=MIN_VARIANCE).log().sum().item()
    return -0.5 * (volume + rest * math.log(max(noise, MIN_VARIANCE))) / (size * math.log(2))


def _within(centred: Callable[[], Iterable[Tensor]], mean: Tensor, basis: Tensor) -> LinearModel:
    """Fits the linear model whose axes span the same space as these directions `(n, D)`."""
    basis = torch.linalg.qr(basis)[0]
    size, rank = basis.shape
    count, total, products = 0, 0.0, basis.new_zeros(rank, rank)
    for x in centred():
        x = x.double()
        seen = x @ basis
        count, products = count + len(x), products + seen.T @ seen
        total += x.square().sum().item()
    values, vectors = torch.linalg.eigh(products / count)
    noise = max((total / count - values.sum().item()) / (size - rank), MIN_VARIANCE)
    return LinearModel(mean, basis @ vectors.flip(1), values.flip(0).clamp(min=noise), noise)


def _moments(chunks: Callable[[], Iterable[Tensor]]) -> tuple[int, Tensor, float]:
    """The number of observations, their mean, and their variance summed over pixels."""
    # Differences from one observation keep enough digits in float32; float64 would be slow.
    centre = next(iter(chunks()))[0]
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for x in chunks():
        x = x - centre
        count, total = count + len(x), total + x.sum(0).double()
        square = square + torch.linalg.vector_norm(x, dim=1).double().square().sum()
    mean = total / count
    variance = (square / count - mean.square().sum()).item()
    return count, centre + mean, variance
