"""The conditional VAE: model and guide are conditioned on attributes of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.data import ImageData, Split
from pyrovae.distributions.latent import innermost
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs.features import Features
from pyrovae.programs.observing import count
from pyrovae.programs.pair import Given, ModelGuidePair
from pyrovae.programs.vae import Program, built
from pyrovae.utils.arguments import remade
from pyrovae.utils.errors import InputError

__all__ = ["ConditionalGuide", "ConditionalModel", "ConditionalVAE"]

#: A number at least this many standard deviations away is far from the data. For an attribute of 0
#: and 1, -1 and 2 are at least 2.8 away, whatever the share of ones.
FAR = 2.8


class ConditionalModel(Program):
    r"""The generative program: a latent vector, then an image given both.

    $$z \sim p(z \mid y), \qquad x \sim p(x \mid z, y) = \text{likelihood}(\text{decoder}(z, y))$$

    Args:
        prior: p(z), or the distribution that a learned shift and scale by y turns into p(z | y).
        decoder: the network from `(z, features)` to the likelihood's maps.
        likelihood: p(x given the decoder's output).
        features: maps attributes to features.
        shift: the network from features to shift and log scale of the prior; None for p(z).
    """

    def __init__(
        self,
        prior: Prior,
        decoder: nn.Module,
        likelihood: Likelihood,
        features: Features,
        shift: nn.Module | None,
    ) -> None:
        super().__init__()
        self.prior, self.decoder, self.likelihood = prior, decoder, likelihood
        self.features, self.shift = features, shift

    def z_dist(self, y: Tensor) -> dist.TorchDistribution:
        """p(z given the features y), event shape `(D,)`."""
        prior = self.prior()
        if self.shift is None:
            return prior
        loc, log_scale = self.shift(y).chunk(2, -1)
        moved = dist.transforms.AffineTransform(loc, log_scale.exp(), event_dim=1)
        return dist.TransformedDistribution(prior, [moved])

    def x_dist(self, z: Tensor, y: Tensor) -> dist.TorchDistribution:
        """p(x given z `(*, D)` and the features y), event shape `(C, H, W)`."""
        return self.likelihood(self.decoder(torch.cat([z, y.expand(*z.shape[:-1], -1)], -1)))

    def forward(
        self, x: Tensor | None = None, num_images: int = 1, *, attributes: Tensor
    ) -> Tensor:
        """Runs the program for attributes `(B, A)`, conditioned on `x`, or draws images."""
        y = self.features(attributes)
        with pyro.plate("images", num_images if x is None else count(x), dim=-1):
            z = pyro.sample("z", self.z_dist(y))
            return pyro.sample("x", self.x_dist(z, y), obs=x)


class ConditionalGuide(Program):
    r"""The inference program: a latent vector per image and its attributes.

    $$z \sim q(z \mid x, y) = \text{posterior}(\text{encoder}(x, y))$$

    Args:
        encoder: the network from images, with one more channel per feature, to the posterior's
            parameters.
        posterior: the family of q(z given x and y).
        features: maps attributes to features.
    """

    def __init__(self, encoder: nn.Module, posterior: Posterior, features: Features) -> None:
        super().__init__()
        self.encoder, self.posterior, self._features = encoder, posterior, (features,)

    def z_dist(self, x: Tensor, attributes: Tensor | None = None) -> dist.TorchDistribution:
        """q(z given x and attributes) for x `(*, C, H, W)`; by default mean attributes."""
        features = self._features[0]
        y = features(features.loc if attributes is None else attributes)
        maps = y[..., None, None].expand(*x.shape[:-3], -1, *x.shape[-2:])
        return self.posterior(self.encoder(torch.cat([x, maps], -3)))

    def forward(self, x: Tensor, num_images: int = 1, *, attributes: Tensor) -> Tensor:
        """Runs the program for observations `x` and attributes `(B, A)`."""
        with pyro.plate("images", count(x), dim=-1):
            return pyro.sample("z", self.z_dist(x, attributes))


class ConditionalVAE(ModelGuidePair):
    r"""A VAE whose model and guide are conditioned on attributes y of the image.

    $$\log p(x \mid y) \ge \mathbb{E}_{q(z \mid x, y)}\left[\log p(x \mid z, y) + \log p(z \mid y)
    - \log q(z \mid x, y)\right]$$

    Use it to draw images with given attributes, and to edit an image: change y and keep z. Labels
    enter as one-hot vectors. Numbers, and two named classes (0 and 1), are standardised by the
    training images. The networks are rebuilt for the additional inputs: the decoder gets the
    features together with z, the encoder gets them as further channels.

    Args:
        encoder: network from images to `posterior.num_params` numbers.
        decoder: network from latents to `likelihood.num_maps(C)` maps.
        prior: p(z).
        likelihood: p(x given the decoder's output).
        posterior: q(z given the encoder's output).
        attributes: names of attributes of the data, known for all images.
        num_classes: the number of classes of each attribute that is a label 0, 1, ...
        prior_of_attributes: whether y shifts and scales the prior: p(z | y) in place of p(z).

    Raises:
        InputError: if an attribute or a number of classes is not allowed.

    References:
        Learning Structured Output Representation using Deep Conditional Generative Models (Sohn
        et al., 2015, section 4)

    Example:
        >>> from pyrovae import DiagonalNormal, MLPDecoder, MLPEncoder, Normal, StandardNormal
        >>> vae = ConditionalVAE(
        ...     encoder=MLPEncoder((1, 8, 8), num_outputs=4),
        ...     decoder=MLPDecoder((1, 8, 8), latent_dim=2, num_maps=1),
        ...     prior=StandardNormal(2),
        ...     likelihood=Normal(scale=0.1),
        ...     posterior=DiagonalNormal(2),
        ...     attributes=["Smiling"],
        ... )
        >>> vae.sample(3, attributes=torch.ones(3, 1)).shape
        torch.Size([3, 1, 8, 8])
    """

    model: ConditionalModel
    guide: ConditionalGuide

    def __init__(
        self,
        *,
        encoder: Encoder,
        decoder: Decoder,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior,
        attributes: Sequence[str],
        num_classes: Mapping[str, int] | None = None,
        prior_of_attributes: bool = False,
    ) -> None:
        features = Features(attributes, num_classes or {})
        dim, more = prior.latent_dim, features.size
        decoder = remade(decoder, latent_dim=lambda own: own + more)
        encoder = remade(encoder, image_shape=lambda own: (own[0] + more, *own[1:]))
        shift = _start_at_zero(nn.Linear(more, 2 * dim)) if prior_of_attributes else None
        model = ConditionalModel(prior, decoder, likelihood, features, shift)
        guide = ConditionalGuide(encoder, posterior, features)
        super().__init__(model, guide, likelihood, [encoder, decoder], attributes)
        prior.use_guide(guide)
        if shift is not None:
            _check_can_shift(prior)

    @classmethod
    def for_images(
        cls,
        data: ImageData | Any,
        latent_dim: int = 20,
        *,
        attributes: Sequence[str],
        num_classes: Mapping[str, int] | None = None,
        prior_of_attributes: bool = False,
        **parts: Any,
    ) -> ConditionalVAE:
        """Builds a conditional VAE with sizes that fit a data set.

        Args:
            data: the images, with attributes.
            latent_dim: D, the number of latent dimensions.
            attributes: names of attributes of the data.
            num_classes: as for the constructor.
            prior_of_attributes: as for the constructor.
            **parts: prior, likelihood, posterior, encoder and decoder, as for `VAE.for_images`.

        Raises:
            InputError: as the constructor does.
        """
        own: dict[str, Any] = {"attributes": attributes, "num_classes": num_classes}
        own |= {"prior_of_attributes": prior_of_attributes}
        return built(cls, data, latent_dim, **own, **parts)

    def encode(self, x: Tensor, attributes: Given = None) -> dist.TorchDistribution:
        """q(z given x and y) for images `(*, C, H, W)` and their attributes `(*, A)`.

        Raises:
            ValueError: without attributes, or if images have another shape than those of `data`.
        """
        return self.guide.z_dist(self.observed(x), **self.inputs(self.given(attributes)))

    def decode(self, z: Tensor, attributes: Given = None) -> dist.TorchDistribution:
        """p(x given z and y) for latents `(*, D)` and attributes `(*, A)`."""
        inputs = self.inputs(self.given(attributes))
        return self.model.x_dist(z, self.model.features(inputs["attributes"]))

    def classes_of(self, name: str) -> int:
        """The number of classes of an attribute that is a label; 0 for a number."""
        return self.model.features.num_classes[self.attributes.index(name)]

    def usual_value(self, name: str) -> float:
        """The first class of a label; the mean of a number, or 0 or 1 if it is between these."""
        mean = float(self.model.features.loc[self.attributes.index(name)])
        return float(round(mean) if 0 <= mean <= 1 else f"{mean:.3g}")

    def check_given(self, name: str, value: float) -> None:
        """Raises `InputError` if a label is not one of its classes."""
        classes = self.classes_of(name)
        if classes and value not in range(classes):
            raise InputError(f"{name} {value:g}: allowed are the classes 0 to {classes - 1}")

    def far_from_data(self, name: str, value: float) -> str:
        """How far a number is from those of the training images; "" for a usual one.

        Of attributes of 0 and 1, these two are usual, however rare one of them is.
        """
        features, place = self.model.features, self.attributes.index(name)
        loc, scale = float(features.loc[place]), float(features.scale[place])
        distance = abs(value - loc) / scale
        if self.classes_of(name) or 0 <= value <= 1 or distance <= FAR:
            return ""
        return (
            f"{name}={value:g} is {distance:,.1f} standard deviations from the mean of the "
            f"training images, {loc:.3g}"
        )

    def check_inputs(self, split: Split) -> None:
        """Raises `InputError` if attributes of the training images cannot be inputs."""
        values = split.attributes[:, split.places(self.attributes)]
        self.model.features.check(values, split.value_names)

    def learn_inputs(self, split: Split) -> None:
        """Takes the moments of the attributes of the training images."""
        self.model.features.learn(split.attributes[:, split.places(self.attributes)])


def _start_at_zero(layer: nn.Linear) -> nn.Linear:
    """The layer with weights 0, so that training starts at p(z)."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _check_can_shift(prior: Any) -> None:
    if innermost(prior().support) is not dist.constraints.real:
        raise InputError(
            f"--program.prior_of_attributes: {type(prior).__name__} cannot be shifted; allowed "
            "are priors over all vectors, such as StandardNormal"
        )
