"""A linear VAE whose evidence and posterior are known in closed form."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.likelihoods import Normal
from pyrovae.networks import Decoder, Encoder, ImageShape
from pyrovae.posteriors import Posterior
from pyrovae.priors import StandardNormal
from pyrovae.vae import VAE


class LinearDecoder(Decoder):
    """W z + b, as an image."""

    def __init__(self, weight: Tensor, bias: Tensor, image_shape: ImageShape) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.image_shape = image_shape

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T + self.bias).unflatten(-1, self.image_shape)


class LinearEncoder(Encoder):
    """A (x - b), of the flattened image."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(-3) - self.bias) @ self.weight.T


class FullNormal(Posterior):
    """A Normal of one covariance matrix, its mean given."""

    def __init__(self, covariance: Tensor) -> None:
        super().__init__(len(covariance))
        self.covariance = covariance

    @property
    def num_params(self) -> int:
        return self.latent_dim

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        return dist.MultivariateNormal(h, self.covariance)


class IndependentNormal(FullNormal):
    """The same for a diagonal covariance matrix, as independent dimensions."""

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        return dist.Normal(h, self.covariance.diagonal().sqrt()).to_event(1)


class LinearGaussian:
    """z ~ N(0, 1), x ~ N(W z + b, sigma^2), in float64, with images drawn from it.

    Args:
        orthogonal: whether the columns of W are orthogonal: then the posterior is diagonal.
    """

    def __init__(self, orthogonal: bool = False, latent_dim: int = 2, sigma: float = 0.5) -> None:
        self.shape: ImageShape = (2, 3, 2)
        size, self.sigma = 12, sigma
        weight = torch.randn(size, latent_dim, dtype=torch.float64)
        self.weight = torch.linalg.qr(weight)[0] * 1.5 if orthogonal else weight
        self.bias = torch.randn(size, dtype=torch.float64)
        eye = torch.eye(latent_dim, dtype=torch.float64)
        self.covariance = torch.linalg.inv(eye + self.weight.T @ self.weight / sigma**2)
        self.orthogonal = orthogonal

    def vae(self) -> VAE:
        """The VAE with the exact posterior."""
        family = IndependentNormal if self.orthogonal else FullNormal
        to_mean = self.covariance @ self.weight.T / self.sigma**2
        return VAE(
            encoder=LinearEncoder(to_mean, self.bias),
            decoder=LinearDecoder(self.weight, self.bias, self.shape),
            prior=StandardNormal(len(self.covariance)).double(),
            likelihood=Normal(self.sigma),
            posterior=family(self.covariance),
        )

    def images(self, count: int) -> Tensor:
        """Images drawn from the model."""
        return self._marginal().sample((count,)).unflatten(-1, self.shape)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) of images `(B, C, H, W)`: shape `(B,)`."""
        return self._marginal().log_prob(x.flatten(1))

    def _marginal(self) -> dist.MultivariateNormal:
        noise = self.sigma**2 * torch.eye(len(self.bias), dtype=torch.float64)
        return dist.MultivariateNormal(self.bias, self.weight @ self.weight.T + noise)
