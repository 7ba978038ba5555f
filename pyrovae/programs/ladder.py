"""The ladder VAE: several layers of latents, from a vector at the top to maps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.data import ImageData, as_image_data
from pyrovae.distributions.constraints import bounded_exp
from pyrovae.likelihoods import Likelihood, SharedScaleNormal
from pyrovae.networks import ImageShape
from pyrovae.networks.blocks import Block, GatedBlock, convolution, shrunk
from pyrovae.networks.ladder import BottomUp, Ladder, Maps, Shortcut, Top, TopDown
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import FlowPrior, Prior
from pyrovae.programs.observing import count
from pyrovae.programs.pair import ModelGuidePair, Parts
from pyrovae.programs.vae import Program, check_latent_parts, check_spaces, made
from pyrovae.utils.errors import InputError

__all__ = ["LadderGuide", "LadderModel", "LadderVAE"]

#: Bound of the logarithm of all scales.
LOG_SCALE_LIMIT = 7.0


def _normal(parameters: Tensor) -> dist.Normal:
    """The Normal distribution of maps, from their locations and raw log scales."""
    loc, raw = parameters.chunk(2, -3)
    return dist.Normal(loc, bounded_exp(raw, LOG_SCALE_LIMIT))


class LadderModel(Program):
    r"""The generative program: L layers of latents from the top downwards, then an image.

    $$z_L \sim p(z_L), \qquad z_l \sim p(z_l \mid z_{>l}) = \mathcal{N}(\mu_l, \sigma_l^2), \qquad
    x \sim p(x \mid z_1, \dots, z_L)$$

    Args:
        prior: p(z_L).
        decoder: the top-down network.
        likelihood: p(x given the decoder's output).
        shortcut: a linear map from z_L that is added to the decoder's output, or None.
    """

    def __init__(
        self, prior: Prior, decoder: TopDown, likelihood: Likelihood, shortcut: Shortcut | None
    ) -> None:
        super().__init__()
        self.prior, self.decoder, self.likelihood = prior, decoder, likelihood
        self.names, self.shortcut = names_of(decoder), shortcut

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        """Runs the program, conditioned on `x`, or draws `num_images` images."""
        with pyro.plate("images", num_images if x is None else count(x), dim=-1):
            top = z = pyro.sample(self.names[0], self.prior())
            h = None
            for name, stage in zip(self.names[1:], self.decoder.stages, strict=True):
                h, parameters = stage(z, h)
                z = pyro.sample(name, _normal(parameters).to_event(3))
            maps = self.decoder(z, h)
            if self.shortcut is not None:
                maps = maps + self.shortcut(top).unflatten(-1, maps.shape[-3:])
            return pyro.sample("x", self.likelihood(maps), obs=x)


class LadderGuide(Program):
    r"""The inference program: features from the image upwards, then latents downwards.

    $$z_L \sim q(z_L \mid x), \qquad z_l \sim q(z_l \mid x, z_{>l})$$

    Args:
        encoder: the bottom-up network.
        top: the network from its highest features to the posterior's parameters.
        posterior: the family of q(z_L given x).
        merges: for each lower layer, from the top, a module from image features, features of the
            latents above, and the Normal p(z_l given these) to the Normal q(z_l).
        decoder: the top-down network of the model.
        shortcut: a linear map from the image that is added to the output of `top`, or None.
    """

    def __init__(
        self,
        encoder: BottomUp,
        top: Top,
        posterior: Posterior,
        merges: Sequence[nn.Module],
        decoder: TopDown,
        shortcut: Shortcut | None,
    ) -> None:
        super().__init__()
        self.encoder, self.top, self.posterior = encoder, top, posterior
        self.shortcut = shortcut
        self.merges = nn.ModuleList(merges)
        # In a tuple, since these are submodules of the model.
        self._stages, self.names = tuple(decoder.stages), names_of(decoder)

    def z_dist(self, x: Tensor) -> dist.TorchDistribution:
        """q(z_L given x) for x `(*, C, H, W)`, which a prior can use."""
        return self._top(x, self.encoder(x))

    def _top(self, x: Tensor, features: Sequence[Tensor]) -> dist.TorchDistribution:
        outputs = self.top(features[-1])
        if self.shortcut is not None:
            outputs = outputs + self.shortcut(x.flatten(-3))
        return self.posterior(outputs)

    def forward(self, x: Tensor, num_images: int = 1) -> None:
        """Runs the program for observations `x`."""
        with pyro.plate("images", count(x), dim=-1):
            features = self.encoder(x)
            z, h = pyro.sample(self.names[0], self._top(x, features)), None
            for name, stage, merge in zip(self.names[1:], self._stages, self.merges, strict=True):
                h, parameters = stage(z, h)
                q = merge(features[merge.level], h, _normal(parameters))
                z = pyro.sample(name, q.to_event(3))


def names_of(decoder: TopDown) -> list[str]:
    """The names of the latent sites, from the top: `zL` to `z1`."""
    return [f"z{layer}" for layer in range(len(decoder.stages) + 1, 0, -1)]


class _Merge(nn.Module, ABC):
    """Combines features of the image and of the latents above to q of a layer.

    Args:
        ladder: the sizes.
        level: the level of the layer, from the image.
        width: channels that enter `maps`.
    """

    def __init__(self, ladder: Ladder, level: int, width: int) -> None:
        super().__init__()
        own, self.level = ladder.channels[level], level
        first = [] if width == own else [convolution(width, own, kernel_size=1)]
        last = shrunk(convolution(own, 2 * ladder.latents[level], kernel_size=1))
        self.maps = Maps([*first, *ladder.repeated(own)[:1], last])

    @abstractmethod
    def forward(self, seen: Tensor, above: Tensor, p: dist.Normal) -> dist.Normal:
        """The Normal q, from image features, features of the latents above, and p."""


class _Merged(_Merge):
    r"""One network for both, relative to p: $\mu = \mu_p + a \sigma_p, \sigma = b \sigma_p$."""

    def __init__(self, ladder: Ladder, level: int) -> None:
        super().__init__(ladder, level, 2 * ladder.channels[level])

    def forward(self, seen: Tensor, above: Tensor, p: dist.Normal) -> dist.Normal:
        shape = torch.broadcast_shapes(seen.shape, above.shape)
        own = _normal(self.maps(torch.cat([seen.expand(shape), above.expand(shape)], -3)))
        return dist.Normal(p.loc + p.scale * own.loc, p.scale * own.scale)


class _PrecisionWeighted(_Merge):
    """The normalised product of p and a Normal of the image features."""

    def __init__(self, ladder: Ladder, level: int) -> None:
        super().__init__(ladder, level, ladder.channels[level])

    def forward(self, seen: Tensor, above: Tensor, p: dist.Normal) -> dist.Normal:
        own = _normal(self.maps(seen))
        precisions = own.scale**-2, p.scale**-2
        variance = 1 / (precisions[0] + precisions[1])
        loc = variance * (precisions[0] * own.loc + precisions[1] * p.loc)
        return dist.Normal(loc, variance.sqrt())


class LadderVAE(ModelGuidePair):
    r"""A VAE with L layers of latents: a vector at the top, and maps below it.

    $$\log p(x) \ge \mathbb{E}_q\left[\log p(x \mid z_{1:L}) - \log \frac{q(z_L \mid x)}{p(z_L)} -
    \sum_{l < L} \log \frac{q(z_l \mid x, z_{>l})}{p(z_l \mid z_{>l})}\right]$$

    A bottom-up network computes features of the image. A top-down network computes p of each
    layer, and model and guide share it. The guide combines both, layer by layer from the top. By
    default one network takes the features of both and returns q relative to p. With
    `precision_weighted`, q is the normalised product of p and a Normal of the image features, as
    in the ladder VAE of the paper. All lists go from the image upwards.

    Use it for better reconstructions and bits per dimension than one vector allows: the lower
    layers encode local details of the image. Upper layers can collapse; use `LayerFreeBits`
    against it.

    Args:
        prior: p(z_L), of the vector at the top.
        likelihood: p(x given the maps of the top-down network).
        posterior: q(z_L given the outputs of the bottom-up network).
        image_shape: `(C, H, W)` of the images.
        channels: channels of the features at each level.
        latents: channels of the latent maps at each level, 0 for a level without; the vector at
            the top is extra, and has the dimensions of the prior.
        strides: stride from one level to the next, 1 or 2; null halves the size at each level.
        blocks: blocks per level; 0 makes the networks linear.
        block: the class of the blocks, `GatedBlock` or `ResidualBlock`.
        precision_weighted: whether q is the product of p and a Normal of the image features.
        shortcut: adds a linear map from the image to the top posterior's parameters, and one from
            the top latents to the decoder's output, so that `ProbabilisticPCA` can start it.

    Raises:
        ValueError: if the levels do not fit the image, a number is not allowed, or prior and
            posterior do not fit each other.
        TypeError: if a part has the wrong type.

    References:
        Ladder Variational Autoencoders (Sønderby et al., 2016, equations 16 to 19),
        https://arxiv.org/abs/1602.02282;
        relative posteriors as in NVAE (Vahdat and Kautz, 2020, section 3.2),
        https://arxiv.org/abs/2007.03898

    Example:
        >>> from pyrovae import DiagonalNormal, Normal, StandardNormal
        >>> vae = LadderVAE(
        ...     prior=StandardNormal(2), likelihood=Normal(scale=0.1), posterior=DiagonalNormal(2),
        ...     image_shape=(1, 8, 8), channels=[8, 8], latents=[1, 1],
        ... )
        >>> list(vae.model.names)
        ['z3', 'z2', 'z1']
        >>> vae.sample(3).shape
        torch.Size([3, 1, 8, 8])
    """

    model: LadderModel
    guide: LadderGuide

    def __init__(
        self,
        *,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior,
        image_shape: ImageShape,
        channels: Sequence[int] = (32, 64, 64),
        latents: Sequence[int] = (0, 4, 4),
        strides: Sequence[int] | None = None,
        blocks: int = 1,
        block: Callable[[int], Block] = GatedBlock,
        precision_weighted: bool = False,
        shortcut: bool = False,
    ) -> None:
        check_latent_parts(prior, likelihood, posterior)
        ladder = Ladder(image_shape, channels, latents, strides, blocks, block)
        encoder, top = BottomUp(ladder), Top(ladder, posterior.num_params)
        num_maps = likelihood.num_maps(image_shape[0])
        decoder = TopDown(ladder, prior.latent_dim, num_maps)
        up, down = None, None
        if shortcut:
            outputs = num_maps * math.prod(image_shape[1:])
            up = Shortcut(math.prod(image_shape), posterior.num_params, top.layers[-1])
            down = Shortcut(prior.latent_dim, outputs, decoder.last)
        kind = _PrecisionWeighted if precision_weighted else _Merged
        merges = [kind(ladder, level) for level in ladder.layers]
        model = LadderModel(prior, decoder, likelihood, down)
        guide = LadderGuide(encoder, top, posterior, merges, decoder, up)
        networks = [encoder, top, *(merge.maps for merge in merges), *decoder.stages, decoder.end]
        networks += filter(None, (up, down))
        super().__init__(model, guide, likelihood, networks)
        prior.use_guide(guide)
        check_spaces(prior, posterior)

    def linear_parts(self) -> Parts:
        """The shortcuts, and the distributions of the top latents."""
        up, down = self.guide.shortcut, self.model.shortcut
        if up is None or down is None:
            raise InputError(
                "the ladder has no linear shortcuts for ProbabilisticPCA; set --program.shortcut "
                "true"
            )
        return Parts(up, self.guide.posterior, self.model.prior, down)

    @classmethod
    def for_images(
        cls,
        data: ImageData | Any,
        latent_dim: int = 20,
        *,
        prior: Callable[..., Prior] | Prior = FlowPrior,
        likelihood: Callable[..., Likelihood] | Likelihood = SharedScaleNormal,
        posterior: Callable[..., Posterior] | Posterior = DiagonalNormal,
        **options: Any,
    ) -> LadderVAE:
        """Builds a ladder VAE with sizes that fit a data set; see `VAE.for_images`.

        Args:
            data: the images: a data set, an array, or a data set of PyTorch.
            latent_dim: the number of dimensions of the top latents.
            prior: p(z_L).
            likelihood: p(x given the decoder's output).
            posterior: q(z_L given the encoder's output).
            **options: the other arguments of the constructor.

        Raises:
            ValueError: as the constructor does.
            TypeError: if a part needs an argument besides these sizes.
        """
        data = as_image_data(data)
        sizes = {"latent_dim": latent_dim, "image_shape": data.image_shape}
        parts = {"prior": prior, "likelihood": likelihood, "posterior": posterior}
        found = {name: made(part, sizes) for name, part in parts.items()}
        vae = cls(image_shape=data.image_shape, **found, **options)
        vae.data = data
        return vae
