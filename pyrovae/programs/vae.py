"""The VAE: a Pyro model with the decoder, and a Pyro guide with the encoder."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from numbers import Integral
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrovae.data import ImageData, as_image_data
from pyrovae.distributions.latent import innermost
from pyrovae.likelihoods import Likelihood, SharedScaleNormal
from pyrovae.networks import ConvDecoder, ConvEncoder, ImageShape
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import FlowPrior, Prior
from pyrovae.programs.checks import misfit
from pyrovae.programs.observing import count
from pyrovae.programs.pair import ModelGuidePair, Parts
from pyrovae.utils.errors import check_kind
from pyrovae.utils.text import closest

__all__ = ["Guide", "Model", "VAE"]

# Pyro's parameter store is global and keyed by name. Two programs with the same names would share
# entries, and the second would silently never train. Numbered roots keep the names unique.
_instances = itertools.count()


#: The widths of the default networks of `VAE.for_images`.
WIDTHS = (16, 32, 64, 128)


def usual_encoder(image_shape: ImageShape, num_outputs: int) -> ConvEncoder:
    """The default encoder of `VAE.for_images`; `ProbabilisticPCA` needs its shortcut."""
    return ConvEncoder(image_shape, num_outputs, usual_widths(image_shape), shortcut=True)


def usual_decoder(image_shape: ImageShape, latent_dim: int, num_maps: int) -> ConvDecoder:
    """The default decoder of `VAE.for_images`."""
    widths = usual_widths(image_shape)[::-1]
    return ConvDecoder(image_shape, latent_dim, num_maps, widths, shortcut=True)


def usual_widths(image_shape: ImageShape) -> tuple[int, ...]:
    """The widths of as many halvings as images allow, at most four.

    Example:
        >>> usual_widths((3, 64, 64)), usual_widths((1, 8, 8))
        ((16, 32, 64, 128), (16, 32, 64))
    """
    return WIDTHS[: max(1, (max(image_shape[1:]) - 1).bit_length())]


def _rename(program: PyroModule, name: str) -> None:
    """Renames a program and its submodules in Pyro's parameter store.

    If a version of Pyro lacks these private names, the old name stays. Two copies in one store
    then share entries, which `check_all_train` refuses.
    """
    with suppress(ImportError, AttributeError):
        from pyro.nn.module import _Context

        program._pyro_set_supermodule(name, _Context())


class Program(PyroModule):
    """A program with a unique name in Pyro's parameter store; each copy gets another name."""

    def __init__(self) -> None:
        super().__init__(self._new_name())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        _rename(self, self._new_name())

    def _new_name(self) -> str:
        return f"{type(self).__name__.lower()}{next(_instances)}"


class Model(Program):
    r"""The generative program: a latent vector, then an image.

    $$z \sim p(z), \qquad x \sim p(x \mid z) = \text{likelihood}(\text{decoder}(z))$$

    Args:
        prior: p(z).
        decoder: the network from z to the likelihood's maps.
        likelihood: p(x given the decoder's output).
    """

    def __init__(self, prior: Prior, decoder: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.prior, self.decoder, self.likelihood = prior, decoder, likelihood

    def z_dist(self) -> dist.TorchDistribution:
        """p(z), event shape `(D,)`."""
        return self.prior()

    def x_dist(self, z: Tensor) -> dist.TorchDistribution:
        """p(x given z) for z of shape `(*, D)`: batch shape `*`, event shape `(C, H, W)`."""
        return self.likelihood(self.decoder(z))

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        """Runs the program, conditioned on `x` `(B, C, H, W)`, or draws `num_images` images."""
        with pyro.plate("images", num_images if x is None else count(x), dim=-1):
            z = pyro.sample("z", self.z_dist())
            return pyro.sample("x", self.x_dist(z), obs=x)


class Guide(Program):
    r"""The inference program: a latent vector per image.

    $$z \sim q(z \mid x) = \text{posterior}(\text{encoder}(x))$$

    Args:
        encoder: the network from images to the posterior's parameters.
        posterior: the family of q(z given x).
    """

    def __init__(self, encoder: nn.Module, posterior: Posterior) -> None:
        super().__init__()
        self.encoder, self.posterior = encoder, posterior

    def z_dist(self, x: Tensor) -> dist.TorchDistribution:
        """q(z given x) for x of shape `(*, C, H, W)`: batch shape `*`, event shape `(D,)`."""
        return self.posterior(self.encoder(x))

    def forward(self, x: Tensor, num_images: int = 1) -> Tensor:
        """Runs the program for observations `x` `(B, C, H, W)`; `num_images` is not used."""
        with pyro.plate("images", count(x), dim=-1):
            return pyro.sample("z", self.z_dist(x))


class VAE(ModelGuidePair):
    r"""A variational autoencoder: the pair of a Pyro model and a Pyro guide.

    $$\log p(x) \ge \mathbb{E}_{q(z \mid x)}\left[\log p(x \mid z) + \log p(z)
    - \log q(z \mid x)\right]$$

    Use it for one latent vector and no attributes; `ModelGuidePair` takes other programs.

    Pyro's `SVI`, `Trace_ELBO()`, `Predictive` and `pyro.render_model` take `vae.model` and
    `vae.guide`. Their input is observations `(B, C, H, W)`. `vae.scored` makes them from uint8
    images for training and for bounds, with the noise that densities need. `vae.observe` adds no
    noise. `vae.encode` and `vae.reconstruct` take observations or uint8 images, `(*, C, H, W)`.

    Args:
        encoder: network from images to `posterior.num_params` numbers.
        decoder: network from latents to `likelihood.num_maps(C)` maps.
        prior: p(z).
        likelihood: p(x given the decoder's output).
        posterior: q(z given the encoder's output).

    Raises:
        ValueError: if prior and posterior have different numbers of latent dimensions, or
            densities on different spaces.
        TypeError: if a part has the wrong type.

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
        >>> images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
        >>> vae.encode(images).batch_shape
        torch.Size([5])
        >>> from pyro.infer import SVI, Trace_ELBO
        >>> svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
        >>> loss = svi.step(vae.scored(images))  # A step of your own loop.
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
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            check_kind(name, network, nn.Module)
        check_latent_parts(prior, likelihood, posterior)
        model, guide = Model(prior, decoder, likelihood), Guide(encoder, posterior)
        super().__init__(model, guide, likelihood, networks=[encoder, decoder])
        prior.use_guide(guide)
        check_spaces(prior, posterior)

    @classmethod
    def for_images(
        cls,
        data: ImageData | Any,
        latent_dim: int = 20,
        *,
        prior: Callable[..., Prior] | Prior = FlowPrior,
        likelihood: Callable[..., Likelihood] | Likelihood = SharedScaleNormal,
        posterior: Callable[..., Posterior] | Posterior = DiagonalNormal,
        encoder: Callable[..., nn.Module] = usual_encoder,
        decoder: Callable[..., nn.Module] = usual_decoder,
    ) -> VAE:
        """Builds a VAE with sizes that fit a data set.

        Each part is a class, a `functools.partial` of a class, or an object. A class gets the
        sizes that the data and the other parts determine, such as `image_shape`, `latent_dim`,
        `num_outputs` and `num_maps`.

        Args:
            data: the images: a data set, an array, or a data set of PyTorch; see
                `as_image_data`.
            latent_dim: D, the number of latent dimensions.
            prior: p(z).
            likelihood: p(x given the decoder's output).
            posterior: q(z given the encoder's output).
            encoder: network from images to the posterior's parameters.
            decoder: network from latents to the likelihood's maps.

        Raises:
            ValueError: as the constructor does.
            TypeError: if a part needs an argument besides these sizes.

        Example:
            >>> from functools import partial
            >>> from pyrovae import MLPDecoder, MLPEncoder, SyntheticFaces, VampPrior
            >>> data = SyntheticFaces(image_size=16)
            >>> prior = partial(VampPrior, num_components=50)
            >>> nets = {"encoder": MLPEncoder, "decoder": MLPDecoder}
            >>> VAE.for_images(data, latent_dim=8, prior=prior, **nets).sample(2).shape
            torch.Size([2, 3, 16, 16])
        """
        parts = {"prior": prior, "likelihood": likelihood, "posterior": posterior}
        return built(cls, data, latent_dim, **parts, encoder=encoder, decoder=decoder)

    def latent_prior(self) -> dist.TorchDistribution:
        """p(z): batch shape `()`, event shape `(D,)`."""
        return self.model.z_dist()

    def encode(self, x: Tensor) -> dist.TorchDistribution:
        """q(z given x) for images `(*, C, H, W)`: batch shape `*`, event shape `(D,)`.

        Args:
            x: uint8 images, or observations as `observe` makes them. Floats are taken as
                observations, which are in [0, 1] for the likelihoods of pyrovae.

        Raises:
            ValueError: if the images have another shape than those of `data`.
        """
        return self.guide.z_dist(self.observed(x))

    def decode(self, z: Tensor) -> dist.TorchDistribution:
        """p(x given z) for latents `(*, D)`: batch shape `*`, event shape `(C, H, W)`."""
        return self.model.x_dist(z)

    def show(self, z: Tensor) -> Tensor:
        """The decoded images of latents `(*, D)`: floats in [0, 1], `(*, C, H, W)`."""
        return self.likelihood.to_images(self.decode(z))

    def parts(self) -> Parts:
        """Encoder, posterior, prior and decoder."""
        guide, model = self.guide, self.model
        return Parts(guide.encoder, guide.posterior, model.prior, model.decoder)

    def misfit(self, x: Tensor) -> str:
        """Describes the first part that does not fit, for observations `(B, C, H, W)`."""
        return misfit(x, self.parts(), self.likelihood)


def check_latent_parts(prior: Any, likelihood: Any, posterior: Any) -> None:
    """Raises an error unless the parts have the right types and numbers of dimensions.

    Raises:
        ValueError: if prior and posterior have different numbers of latent dimensions.
        TypeError: if a part has the wrong type.
    """
    check_kind("prior", prior, Prior)
    check_kind("posterior", posterior, Posterior)
    check_kind("likelihood", likelihood, Likelihood)
    if prior.latent_dim != posterior.latent_dim:
        raise ValueError(
            f"prior and posterior must have the same latent_dim, "
            f"got {prior.latent_dim} and {posterior.latent_dim}"
        )


#: The parts of a program whose sizes follow from the data; see `parts_for`.
PARTS = ("prior", "likelihood", "posterior", "encoder", "decoder")


def parts_for(
    shape: ImageShape,
    latent_dim: int,
    prior: Callable[..., Prior] | Prior = FlowPrior,
    likelihood: Callable[..., Likelihood] | Likelihood = SharedScaleNormal,
    posterior: Callable[..., Posterior] | Posterior = DiagonalNormal,
    encoder: Callable[..., nn.Module] = usual_encoder,
    decoder: Callable[..., nn.Module] = usual_decoder,
) -> dict[str, Any]:
    """The parts of a VAE by role, with sizes that fit images of a shape; see `VAE.for_images`."""
    if not isinstance(latent_dim, Integral):
        raise TypeError(f"latent_dim must be an integer, got {latent_dim!r}")
    sizes = {"latent_dim": latent_dim, "image_shape": shape}
    p, q, pixels = made(prior, sizes), made(posterior, sizes), made(likelihood, sizes)
    check_kind("posterior", q, Posterior)  # Before the networks get their sizes.
    check_kind("likelihood", pixels, Likelihood)
    return {
        "encoder": made(encoder, sizes | {"num_outputs": q.num_params}),
        "decoder": made(decoder, sizes | {"num_maps": pixels.num_maps(shape[0])}),
        "prior": p,
        "likelihood": pixels,
        "posterior": q,
    }


def built(kind: Any, data: ImageData | Any, latent_dim: int, **arguments: Any) -> Any:
    """A program with sizes that fit a data set, from parts and other arguments."""
    data = as_image_data(data)
    own = {name: arguments.pop(name) for name in PARTS if name in arguments}
    vae = kind(**parts_for(data.image_shape, latent_dim, **own), **arguments)
    vae.data = data
    return vae


def made(part: Any, sizes: dict[str, Any]) -> Any:
    """Builds a part with the sizes that its constructor takes; returns an object unchanged."""
    if isinstance(part, nn.Module):
        return part
    if not callable(part):
        raise TypeError(f"a part is a class, a functools.partial, or an object; got {part!r}")
    if isinstance(part, partial):
        _check_arguments(part.func, part.keywords)
    known = inspect.signature(part).parameters
    return part(**{name: size for name, size in sizes.items() if name in known})


def _check_arguments(part: Any, given: Iterable[str]) -> None:
    """Raises `TypeError` for an argument that a part does not have."""
    known = inspect.signature(part).parameters
    if any(own.kind is own.VAR_KEYWORD for own in known.values()):
        return
    for name in given:
        if name not in known:
            raise TypeError(
                f"{getattr(part, '__name__', part)} has no argument {name}{closest(name, known)}; "
                f"its arguments are {', '.join(known)}"
            )


@torch.no_grad()
def check_spaces(prior: Prior, posterior: Posterior) -> None:
    """Raises `ValueError` unless both have densities on the same space."""
    # With the posterior's dtype and device: the parts of a VAE may have been moved before.
    h = torch.zeros(posterior.num_params)
    for tensor in itertools.chain(posterior.parameters(), posterior.buffers()):
        h = h.to(tensor if tensor.is_floating_point() else tensor.device)
    drawn = posterior(h)
    try:
        both = prior(), drawn
        for part, found in zip((prior, posterior), both, strict=True):
            check_kind(f"{type(part).__name__}(...)", found, Distribution)
        spaces = [type(innermost(p.support)) for p in both]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{type(prior).__name__} does not fit the networks: {reason}") from error
    if spaces[0] is not spaces[1]:
        names = [type(part).__name__ for part in (prior, posterior)]
        words = [space.__name__.strip("_").lower() for space in spaces]
        raise ValueError(
            f"prior and posterior must be on the same space: {names[0]} is over {words[0]} "
            f"vectors, {names[1]} over {words[1]} vectors"
        )
