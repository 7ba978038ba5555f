"""Models and guides that are no `VAE`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae import (
    ConditionalVAE,
    DiagonalNormal,
    LadderVAE,
    MixtureVAE,
    MLPDecoder,
    MLPEncoder,
    ModelGuidePair,
    SemiSupervisedVAE,
    SharedScaleNormal,
    StandardNormal,
)

SIZE = 3 * 16 * 16


class TwoLatentsModel(PyroModule):
    """z2, then z1 given z2, then x given both."""

    def __init__(self, likelihood: SharedScaleNormal) -> None:
        super().__init__("two_latents_model")
        self.prior_net, self.decoder = nn.Linear(2, 3), nn.Linear(5, SIZE)
        self.likelihood = likelihood

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            z2 = pyro.sample(
                "z2",
                dist.Normal(torch.zeros(2, device=self.decoder.weight.device), 1.0).to_event(1),
            )
            z1 = pyro.sample("z1", dist.Normal(self.prior_net(z2), 1.0).to_event(1))
            maps = self.decoder(torch.cat([z1, z2], -1)).unflatten(-1, (3, 16, 16))
            return pyro.sample("x", self.likelihood(maps), obs=x)


class TwoLatentsGuide(PyroModule):
    """z1 given x, then z2 given z1."""

    def __init__(self) -> None:
        super().__init__("two_latents_guide")
        self.first, self.second = nn.Linear(SIZE, 6), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("images", len(x), dim=-1):
            loc, raw = self.first(x.flatten(-3)).chunk(2, -1)
            z1 = pyro.sample("z1", dist.Normal(loc, raw.tanh().exp()).to_event(1))
            loc, raw = self.second(z1).chunk(2, -1)
            pyro.sample("z2", dist.Normal(loc, raw.tanh().exp()).to_event(1))


class NumberedModel(PyroModule):
    """A number from 0 to 3, then z given it, then x given z."""

    def __init__(self, likelihood: SharedScaleNormal) -> None:
        super().__init__("numbered_model")
        self.logits, self.centres = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.randn(4, 3))
        self.decoder, self.likelihood = nn.Linear(3, SIZE), likelihood

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            number = pyro.sample("y", dist.Categorical(logits=self.logits))
            z = pyro.sample("z", dist.Normal(self.centres[number], 1.0).to_event(1))
            maps = self.decoder(z).unflatten(-1, (3, 16, 16))
            return pyro.sample("x", self.likelihood(maps), obs=x)


class NumberedGuide(PyroModule):
    """The number and z, independent given x."""

    def __init__(self) -> None:
        super().__init__("numbered_guide")
        self.encoder = nn.Linear(SIZE, 10)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("images", len(x), dim=-1):
            logits, loc, raw = self.encoder(x.flatten(-3)).split([4, 3, 3], -1)
            pyro.sample("y", dist.Categorical(logits=logits))
            pyro.sample("z", dist.Normal(loc, raw.tanh().exp()).to_event(1))


class ConditionalModel(PyroModule):
    """x given z and two attributes of the image."""

    def __init__(self, likelihood: SharedScaleNormal) -> None:
        super().__init__("conditional_model")
        self.decoder, self.likelihood = nn.Linear(4 + 2, SIZE), likelihood

    def forward(
        self, x: Tensor | None = None, num_images: int = 1, *, attributes: Tensor
    ) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(attributes.new_zeros(4), 1.0).to_event(1))
            known = attributes.expand(*z.shape[:-1], 2)
            maps = self.decoder(torch.cat([z, known], -1)).unflatten(-1, (3, 16, 16))
            return pyro.sample("x", self.likelihood(maps), obs=x)


class ConditionalGuide(PyroModule):
    """z given an image and its attributes."""

    def __init__(self) -> None:
        super().__init__("conditional_guide")
        self.encoder = nn.Linear(SIZE + 2, 8)

    def forward(self, x: Tensor, *, attributes: Tensor) -> None:
        with pyro.plate("images", len(x), dim=-1):
            loc, raw = self.encoder(torch.cat([x.flatten(-3), attributes], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.tanh().exp()).to_event(1))


def two_latents() -> ModelGuidePair:
    likelihood = SharedScaleNormal()
    return ModelGuidePair(TwoLatentsModel(likelihood), TwoLatentsGuide(), likelihood)


def numbered() -> ModelGuidePair:
    likelihood = SharedScaleNormal()
    return ModelGuidePair(NumberedModel(likelihood), NumberedGuide(), likelihood)


def conditional() -> ModelGuidePair:
    likelihood = SharedScaleNormal()
    model, guide = ConditionalModel(likelihood), ConditionalGuide()
    names = ("skin_tone", "hair_length")
    return ModelGuidePair(model, guide, likelihood, [model.decoder, guide.encoder], names)


def conditional_vae(prior_of_attributes: bool = False) -> ConditionalVAE:
    shape = (3, 16, 16)
    return ConditionalVAE(
        encoder=MLPEncoder(shape, num_outputs=8, hidden=[16]),
        decoder=MLPDecoder(shape, latent_dim=4, num_maps=3, hidden=[16]),
        prior=StandardNormal(4),
        likelihood=SharedScaleNormal(),
        posterior=DiagonalNormal(4),
        attributes=("skin_tone", "hair_length"),
        prior_of_attributes=prior_of_attributes,
    )


def ladder_vae(precision_weighted: bool = False, blocks: int = 1, **sizes: Any) -> LadderVAE:
    shape = {"channels": [4, 4, 4], "latents": [0, 1, 1]} | sizes
    return LadderVAE(
        prior=StandardNormal(2),
        likelihood=SharedScaleNormal(),
        posterior=DiagonalNormal(2),
        image_shape=(3, 16, 16),
        blocks=blocks,
        precision_weighted=precision_weighted,
        **shape,
    )


def _of_faces() -> dict[str, Any]:
    """The parts of programs of small faces with a class, which is whether they have glasses."""
    shape = (3, 16, 16)
    return {
        "encoder": MLPEncoder(shape, num_outputs=8, hidden=[16]),
        "decoder": MLPDecoder(shape, latent_dim=4, num_maps=3, hidden=[16]),
        "prior": StandardNormal(4),
        "likelihood": SharedScaleNormal(),
        "posterior": DiagonalNormal(4),
        "num_classes": 2,
        "label": "glasses",
    }


def semi_supervised(**arguments: Any) -> SemiSupervisedVAE:
    """A semi-supervised VAE of small faces."""
    return SemiSupervisedVAE(**{**_of_faces(), "num_features": 12, **arguments})


def mixture(**arguments: Any) -> MixtureVAE:
    """A mixture VAE of small faces."""
    return MixtureVAE(**{**_of_faces(), **arguments})


#: Those that the usual objectives train, and all.
TRAINED: dict[str, Callable[[], ModelGuidePair]] = {
    "two latents": two_latents,
    "conditional": conditional_vae,
    "ladder": partial(ladder_vae, channels=[4, 4], latents=[0, 1], shortcut=True),
}
CLASSES = {"semi-supervised": semi_supervised, "mixture": mixture}
MAKERS: dict[str, Callable[[], ModelGuidePair]] = {**TRAINED, **CLASSES, "numbered": numbered}
