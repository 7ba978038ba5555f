"""The probabilistic programs: the decoder in a Pyro model, the encoder in a Pyro guide."""

from __future__ import annotations

import itertools
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from pyro.nn.module import _Context
from torch import Tensor, nn

from pyrovae.likelihoods import Likelihood
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs.checks import misfit
from pyrovae.programs.pair import Programs
from pyrovae.utils.errors import check_kind

__all__ = ["Guide", "Model", "VAE"]

# Pyro's parameter store is global and keyed by name: two programs of the same names would share
# one entry, and the second would silently never train. Numbered roots keep them apart.
_instances = itertools.count()


class Model(PyroModule):
    r"""The generative program: a latent vector, then an image.

    $$z \sim p(z), \qquad x \sim p(x \mid z) = \text{likelihood}(\text{decoder}(z))$$

    Args:
        prior: p(z).
        decoder: the network from z to the likelihood's maps.
        likelihood: p(x given the decoder's output).
    """

    def __init__(self, prior: Prior, decoder: nn.Module, likelihood: Likelihood) -> None:
        super().__init__(f"model{next(_instances)}")
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy gets a number of its own, as a new program does."""
        super().__setstate__(state)
        self._pyro_set_supermodule(f"model{next(_instances)}", _Context())

    def z_dist(self) -> dist.TorchDistribution:
        """p(z), event shape `(D,)`."""
        return self.prior()

    def x_dist(self, z: Tensor) -> dist.TorchDistribution:
        """p(x given z) for z of shape `(*, D)`: batch shape `*`, event shape `(C, H, W)`."""
        return self.likelihood(self.decoder(z))

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        """The program, conditioned on images `x` `(B, C, H, W)`, or drawing `num_images`."""
        with pyro.plate("images", num_images if x is None else _count(x), dim=-1):
            z = pyro.sample("z", self.z_dist())
            return pyro.sample("x", self.x_dist(z), obs=x)


class Guide(PyroModule):
    r"""The inference program: a latent vector for each image.

    $$z \sim q(z \mid x) = \text{posterior}(\text{encoder}(x))$$

    Args:
        encoder: the network from images to the posterior's parameters.
        posterior: the family of q(z given x).
    """

    def __init__(self, encoder: nn.Module, posterior: Posterior) -> None:
        super().__init__(f"guide{next(_instances)}")
        self.encoder = encoder
        self.posterior = posterior

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy gets a number of its own, as a new program does."""
        super().__setstate__(state)
        self._pyro_set_supermodule(f"guide{next(_instances)}", _Context())

    def z_dist(self, x: Tensor) -> dist.TorchDistribution:
        """q(z given x) for x of shape `(*, C, H, W)`: batch shape `*`, event shape `(D,)`."""
        return self.posterior(self.encoder(x))

    def forward(self, x: Tensor, num_images: int = 1) -> Tensor:
        """The program, for images `x` `(B, C, H, W)`; `num_images` is the model's, unused."""
        with pyro.plate("images", _count(x), dim=-1):
            return pyro.sample("z", self.z_dist(x))


class VAE(Programs):
    r"""A variational autoencoder: the pair of a Pyro model and a Pyro guide.

    $$\log p(x) \ge \mathbb{E}_{q(z \mid x)}\left[\log p(x \mid z) + \log p(z)
    - \log q(z \mid x)\right]$$

    Use it unless the programs have several latent sites, or attributes: see `Programs`.

    `vae.model` and `vae.guide` are what `SVI`, `Trace_ELBO()`, `Predictive` and
    `pyro.render_model` take; they are given observations `(B, C, H, W)` that `vae.observe` made
    of uint8 images. `vae.encode` and `vae.reconstruct` take these, or images, `(*, C, H, W)`.

    Args:
        encoder: network from images to `posterior.num_params` numbers.
        decoder: network from latents to `likelihood.num_maps(C)` maps.
        prior: p(z).
        likelihood: p(x given the decoder's output).
        posterior: q(z given the encoder's output).

    Raises:
        ValueError: if prior and posterior have different numbers of latent dimensions, or
            live in different spaces.
        TypeError: if a part is not what its name says.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> from pyrovae import DiagonalNormal, MLPDecoder, MLPEncoder, Normal, StandardNormal
        >>> vae = VAE(
        ...     encoder=MLPEncoder((1, 8, 8), num_outputs=4),
        ...     decoder=MLPDecoder((1, 8, 8), latent_dim=2, num_maps=1),
        ...     prior=StandardNormal(2),
        ...     likelihood=Normal(scale=0.1),
        ...     posterior=DiagonalNormal(2),
        ... )
        >>> vae.sample(3).shape
        torch.Size([3, 1, 8, 8])
        >>> vae.encode(torch.zeros(5, 1, 8, 8, dtype=torch.uint8)).batch_shape
        torch.Size([5])
    """

    model: Model
    guide: Guide

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior,
    ) -> None:
        check_kind("prior", prior, Prior)
        check_kind("posterior", posterior, Posterior)
        check_kind("likelihood", likelihood, Likelihood)
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            check_kind(name, network, nn.Module)
        if prior.latent_dim != posterior.latent_dim:
            raise ValueError(
                f"prior and posterior must have the same latent_dim, "
                f"got {prior.latent_dim} and {posterior.latent_dim}"
            )
        model, guide = Model(prior, decoder, likelihood), Guide(encoder, posterior)
        super().__init__(model, guide, likelihood, networks=[encoder, decoder])
        use_guide = getattr(prior, "use_guide", None)
        if use_guide is not None:
            use_guide(guide)
        _check_spaces(prior, posterior)

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """q(z given x) for images `(*, C, H, W)`: batch shape `*`, event shape `(D,)`."""
        return self.guide.z_dist(self.observed(x))

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x given z) for latents `(*, D)`: batch shape `*`, event shape `(C, H, W)`."""
        return self.model.x_dist(z)

    def show(self, z: Tensor) -> Tensor:
        """What the likelihood shows for latents `(*, D)`: floats in [0, 1], `(*, C, H, W)`."""
        return self.likelihood.to_images(self.decode(z))

    def misfit(self, x: Tensor) -> str:
        """Which part does not go with the next, for observations `(B, C, H, W)`, in a line."""
        guide, model = self.guide, self.model
        return misfit(
            x, guide.encoder, guide.posterior, model.prior, model.decoder, self.likelihood
        )


@torch.no_grad()
def _check_spaces(prior: Prior, posterior: Posterior) -> None:
    """Raises `ValueError` unless both have densities in the same space."""
    # Of the posterior's type and device: a VAE can be built of parts that have been moved.
    h = torch.zeros(posterior.num_params)
    for tensor in itertools.chain(posterior.parameters(), posterior.buffers()):
        h = h.to(tensor if tensor.is_floating_point() else tensor.device)
    drawn = posterior(h)
    try:
        spaces = [type(_innermost(p.support)) for p in (prior(), drawn)]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{type(prior).__name__} does not fit the networks: {reason}") from None
    if spaces[0] is not spaces[1]:
        names = [type(part).__name__ for part in (prior, posterior)]
        words = [space.__name__.strip("_").lower() for space in spaces]
        raise ValueError(
            f"prior and posterior must live in the same space: {names[0]} is over {words[0]} "
            f"vectors, {names[1]} over {words[1]} vectors"
        )


def _count(x: Tensor) -> int:
    """How many observations there are; one image without a batch would count as its channels."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(
            f"the programs take observations (B, C, H, W) as vae.observe makes them, got "
            f"{x.dtype} of shape {tuple(x.shape)}"
        )
    return len(x)


def _innermost(support: Any) -> Any:
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support
