"""VAEs whose evidence, posterior or expectations are known: in closed form or by quadrature."""

from __future__ import annotations

import math

import pyro.distributions as dist
import scipy.stats
import torch
from pyro.distributions.transforms import AffineTransform
from torch import Tensor, nn

from pyrovae.likelihoods import Normal
from pyrovae.networks import Decoder, Encoder, ImageShape, MLPDecoder, MLPEncoder
from pyrovae.posteriors import DiagonalNormal, FullRankNormal, Posterior
from pyrovae.priors import Prior, StandardNormal
from pyrovae.programs.vae import VAE
from tests.support.tables import FALSE_ALARM


class LinearDecoder(Decoder):
    """W z + b, as an image."""

    def __init__(self, weight: Tensor, bias: Tensor, image_shape: ImageShape) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.image_shape = image_shape

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T + self.bias).unflatten(-1, self.image_shape)


class LinearEncoder(Encoder):
    """A (x - b), of the flattened image, then numbers that are the same for all images."""

    def __init__(self, weight: Tensor, bias: Tensor, rest: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.rest = nn.Parameter(rest.clone())

    def forward(self, x: Tensor) -> Tensor:
        loc = (x.flatten(-3) - self.bias) @ self.weight.T
        return torch.cat([loc, self.rest.expand(*loc.shape[:-1], -1)], -1)


class DisguisedNormal(FullRankNormal):
    """A Normal whose divergence from the prior no formula knows."""

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        q = super().forward(h)
        identity = AffineTransform(0.0, 1.0, event_dim=1)
        disguised = dist.TransformedDistribution(q, [identity])
        disguised.covariance_matrix = q.covariance_matrix
        return disguised


def covariance_features(posterior: Posterior, covariance: Tensor) -> Tensor:
    """What an encoder must give after the mean for a posterior of that covariance matrix.

    Found by Newton's method, since how a family encodes it is the family's own affair.
    """
    size = len(covariance)

    def covariance_of(rest: Tensor) -> Tensor:
        q = posterior(torch.cat([rest.new_zeros(size), rest]))
        return q.covariance_matrix if hasattr(q, "covariance_matrix") else q.variance.diag()

    rest = torch.linspace(0.1, 0.2, posterior.num_params - size, dtype=covariance.dtype)
    for _ in range(50):
        gap = (covariance_of(rest) - covariance).flatten()
        if gap.abs().max() < 1e-15 * covariance.abs().max():
            break
        slope = torch.autograd.functional.jacobian(covariance_of, rest).flatten(0, 1)
        rest = rest - torch.linalg.pinv(slope, rtol=1e-10) @ gap
    assert torch.allclose(covariance_of(rest), covariance, rtol=1e-12, atol=1e-14)
    return rest


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

    def vae(self, posterior: Posterior | None = None, inflation: float = 1.0) -> VAE:
        """The VAE with the exact posterior.

        Args:
            posterior: the family, one that holds the exact posterior. Without it, it is
                `DiagonalNormal` if the posterior is diagonal, else `DisguisedNormal`.
            inflation: what the posterior's covariance is multiplied by, to make it wrong.
        """
        size = len(self.covariance)
        posterior = posterior or (DiagonalNormal if self.orthogonal else DisguisedNormal)(size)
        to_mean = self.covariance @ self.weight.T / self.sigma**2
        rest = covariance_features(posterior, inflation * self.covariance)
        return VAE(
            encoder=LinearEncoder(to_mean, self.bias, rest),
            decoder=LinearDecoder(self.weight, self.bias, self.shape),
            prior=StandardNormal(size).double(),
            likelihood=Normal(self.sigma),
            posterior=posterior,
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


def one_dimensional_vae(prior: Prior | None = None) -> VAE:
    """A VAE of images of two pixels with one latent dimension, smooth networks, in float64."""
    shape = (1, 1, 2)
    vae = VAE(
        encoder=MLPEncoder(shape, 2, hidden=[8], activation=nn.Tanh),
        decoder=MLPDecoder(shape, 1, 1, hidden=[8], activation=nn.Tanh),
        prior=prior or StandardNormal(1),
        likelihood=Normal(0.3),
        posterior=DiagonalNormal(1),
    ).double()
    with torch.no_grad():
        for network in vae.networks():
            for parameter in network.parameters():
                parameter.mul_(2)
        vae.guide.encoder.layers[-1].bias.copy_(torch.tensor([1.0, -0.7]))
    return vae


class Quadrature:
    """Expectations under q(z given x) of a VAE with one latent dimension.

    The trapezoid rule, which converges exponentially for smooth functions that vanish at both
    ends.

    Args:
        vae: of one latent dimension.
        x: one image, `(1, C, H, W)`.
        seen: what the guide sees in its place.
    """

    @torch.no_grad()
    def __init__(self, vae: VAE, x: Tensor, seen: Tensor | None = None) -> None:
        q = vae.encode(x if seen is None else seen)
        steps = torch.linspace(-9, 9, 601, dtype=torch.float64)
        self.z = (q.mean + q.stddev * steps[:, None]).unsqueeze(-2)
        log_q = q.log_prob(self.z).squeeze(-1)
        self.weights = log_q.exp() * q.stddev.item() * (steps[1] - steps[0])
        self.distortions = -vae.decode(self.z).log_prob(x).squeeze(-1)
        self.rates = log_q - vae.model.z_dist().log_prob(self.z).squeeze(-1)

    def mean(self, values: Tensor) -> float:
        """The expectation of a function of z, given at the nodes."""
        return (self.weights * values).sum().item()

    @property
    def rate(self) -> float:
        """E log q(z given x) - log p(z), the divergence."""
        return self.mean(self.rates)

    @property
    def distortion(self) -> float:
        """- E log p(x given z)."""
        return self.mean(self.distortions)

    def two_particle_bound(self) -> float:
        """E log (w1 + w2) / 2, over two draws of z."""
        log_w = -self.rates - self.distortions
        pairs = torch.logaddexp(log_w, log_w[:, None]) - math.log(2)
        return (self.weights @ pairs @ self.weights).item()


def assert_mean(draws: Tensor, expected: Tensor | float) -> None:
    """Fails unless independent draws `(R, *)` may have the expectation `(*,)`.

    Student's t-test of each entry, at a joint rate of false alarms of at most `FALSE_ALARM`.
    """
    draws = draws.double()
    gap = draws.mean(0) - torch.as_tensor(expected)
    error = draws.std(0) / math.sqrt(len(draws))
    limit = scipy.stats.t.ppf(1 - FALSE_ALARM / 2 / gap.numel(), len(draws) - 1)
    assert (gap.abs() <= limit * error + 1e-9).all(), (gap / error, limit)
