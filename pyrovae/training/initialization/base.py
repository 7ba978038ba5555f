"""Initialisation: random weights, or the optimal linear model."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pyrovae.data import spread
from pyrovae.distributions.constraints import at_least
from pyrovae.distributions.ppca import LinearModel, fit_ppca
from pyrovae.likelihoods import Likelihood
from pyrovae.networks.base import LinearStart
from pyrovae.posteriors import Posterior
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError, cannot_start
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.randomness import private_randomness

__all__ = ["ProbabilisticPCA", "RandomStart", "Start"]


class Start(Recorded, ABC):
    """Sets the parameters of a VAE before the first step.

    Attributes:
        only_new: whether it is for new VAEs only; one that was trained before keeps its weights.
    """

    only_new: bool = False

    @abstractmethod
    def __call__(self, vae: ModelGuidePair, images: np.ndarray, flip: bool) -> str:
        """Changes parameters in place, given the training images, uint8 `(N, C, H, W)`.

        Returns:
            One line for the log that describes the initialisation.
        """


def initialize(start: Start, vae: ModelGuidePair, images: np.ndarray, flip: bool) -> str:
    """Applies an initialisation, unless it is for new VAEs and the VAE was trained before.

    Returns:
        One line for the log.
    """
    if vae.fitted and start.only_new:
        kept = "starts from the weights of the VAE, which was trained before"
        return f"{kept} ({type(start).__name__} is for new VAEs)"
    return start(vae, images, flip)


class RandomStart(Start):
    """Keeps the weights: random in a new VAE, unchanged in one that was trained before.

    Use it where the parts do not support `ProbabilisticPCA`, and to compare with published
    results.
    """

    only_new = True

    def __call__(self, vae: ModelGuidePair, images: np.ndarray, flip: bool) -> str:
        """Changes nothing."""
        return "starts from random weights"


class ProbabilisticPCA(Start):
    r"""Initialises the networks to the optimal linear VAE, which is probabilistic PCA.

    The decoder starts as $W z + m$ and the encoder as the exact posterior mean, where for the
    D largest eigenvalues $\lambda$ (eigenvectors U) of the covariance of the images

    $$W = U (\Lambda - \sigma^2)^{1/2}, \qquad q(z \mid x) = \mathcal{N}\left(\Lambda^{-1} W^T
    (x - m),\; \sigma^2 \Lambda^{-1}\right)$$

    In this basis the posterior of the linear model is diagonal. With Normal parts the ELBO
    therefore starts at the evidence of probabilistic PCA, and the aggregate posterior is close to
    the prior, so that the first samples resemble the data. Other parts start near that point.

    The networks need `shortcut`, the posterior needs the optional method `features`, and the
    likelihood needs the optional method `start_at`, which sets its scale. A fixed scale is kept.
    Directions with less variance than the noise start unused.

    Use it wherever the parts support it: random weights may take hours of training to reach the
    same ELBO.

    Args:
        num_images: number of images to fit, spread evenly over the split; they are held in memory
            as floats, twice if training mirrors them.
        fallback: the start to use if a part does not support this one, or if there are too few
            images; null raises an error.

    Raises:
        ValueError: if `num_images` is below 2.

    References:
        Probabilistic Principal Component Analysis (Tipping and Bishop, 1999, equations 7 to 9);
        Don't Blame the ELBO! (Lucas et al., 2019, section 4), https://arxiv.org/abs/1911.02469
    """

    only_new = True

    def __init__(self, num_images: int = 5000, fallback: Start | None = None) -> None:
        self.num_images, self.fallback = at_least("num_images", num_images, 2), fallback

    @torch.no_grad()
    def __call__(self, vae: ModelGuidePair, images: np.ndarray, flip: bool) -> str:
        """Sets the weights of the networks and the scale of the likelihood."""
        some = torch.from_numpy(spread(images, self.num_images))
        try:
            parts = _Parts.of(vae)
            with private_randomness(0, next(vae.parameters()).device), evaluation_mode(vae):
                x = vae.scored(torch.cat([some, some.flip(-1)]) if flip else some)
            never = x.isnan().all(0)  # Pixels that no image shows are black, as for the encoder.
            x = torch.where(never, 0.0, x)
            if x.isnan().any():
                raise InputError("ProbabilisticPCA needs whole images, and pixels are missing")
            device = _fitting_device(vae.parameters())
            model = _fitted(x.flatten(1), parts.posterior.latent_dim, device)
        except InputError as error:
            if self.fallback is None:
                hint = "use RandomStart instead (--start RandomStart)"
                raise InputError(f"{error}; {hint}") from None
            return f"{self.fallback(vae, images, flip)}: {error}"
        parts.become(model, x.shape[1:])
        return f"starts from probabilistic PCA of {len(some):,} images"


def _fitting_device(parameters: Iterable[Tensor]) -> torch.device:
    """The device that fits the linear model: the GPU of the parameters, else the CPU.

    The fit uses float64, which not every accelerator supports.
    """
    found = next((p.device for p in parameters), torch.device("cpu"))
    return found if found.type == "cuda" else torch.device("cpu")


def _fitted(x: Tensor, latent_dim: int, device: torch.device) -> LinearModel:
    """Fits the linear model of observations `(N, n)` on the device; returns it on the CPU."""
    model = fit_ppca(lambda: (part.to(device) for part in x.split(500)), latent_dim)
    tensors = (model.mean, model.basis, model.eigenvalues)
    mean, basis, values = (t.cpu().to(x.dtype) for t in tensors)
    return LinearModel(mean, basis, values, model.noise_variance)


@dataclass(frozen=True)
class _Parts:
    """The parts of a VAE that a linear model sets."""

    encoder: LinearStart
    decoder: LinearStart
    posterior: Posterior
    likelihood: Likelihood

    @classmethod
    def of(cls, vae: ModelGuidePair) -> _Parts:
        """The parts of a VAE; raises `InputError` if one of them cannot be set."""
        found = vae.linear_parts()
        if found is None:
            raise cannot_start(vae.guide, "the guide is not made of one encoder and one posterior")
        if found.prior.uses_guide:
            raise cannot_start(
                found.prior, "it is a mixture of the guide's posteriors, which start too narrow"
            )
        encoder, decoder = (_linear(network) for network in (found.encoder, found.decoder))
        one = torch.ones(1, found.posterior.latent_dim)
        found.posterior.features(one, one)
        # On a copy: nothing may change before all parts are known to support it.
        copy.deepcopy(vae.likelihood).start_at(1.0)
        return cls(encoder, decoder, found.posterior, vae.likelihood)

    def become(self, model: LinearModel, shape: Sequence[int]) -> None:
        """Sets the parts to a linear model of images of this shape."""
        variance = self.likelihood.start_at(model.noise_variance**0.5) ** 2
        eigenvalues = model.eigenvalues.clamp(min=variance)
        weight = model.basis * (eigenvalues - variance).sqrt()
        self.decoder.start_linear(*self._of_maps(weight, model.mean, shape))
        # `features` is linear in loc, so the differences are the columns of a linear map.
        scale = (variance / eigenvalues).sqrt()
        to_loc = (weight / eigenvalues).T
        features = self.posterior.features
        zero = features(torch.zeros_like(scale), scale)
        columns = features(to_loc.T, scale.expand(len(model.mean), -1)) - zero
        self.encoder.start_linear(columns.T, features(-to_loc @ model.mean, scale))

    def _of_maps(
        self, weight: Tensor, mean: Tensor, shape: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Weight and bias of the linear function from latents to maps, from those to locations."""
        columns, zero, bias = (
            self.likelihood.maps(images.unflatten(-1, shape)).flatten(-3)
            for images in (weight.T, torch.zeros_like(mean), mean)
        )
        return (columns - zero).T, bias


def _linear(network: nn.Module) -> LinearStart:
    """Returns the network; raises `InputError` if it has no linear form."""
    if not isinstance(network, LinearStart):
        raise cannot_start(network, "it has no linear form")
    network.check_start()
    return network
