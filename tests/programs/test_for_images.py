"""A VAE made for a data set, and the recipe of the default preset."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from pyrovae import (
    VAE,
    HypersphericalUniform,
    ImageData,
    InputError,
    MLPDecoder,
    MLPEncoder,
    Normal,
    Recipe,
    StandardNormal,
    Trainer,
    VampPrior,
    VonMisesFisher,
)
from pyrovae.config.building import build_vae, instantiate, recipe
from pyrovae.config.catalogue import concrete
from pyrovae.config.options import train_parser
from pyrovae.config.presets import preset_path
from pyrovae.inspection.judge.limits import HIGH_LR
from pyrovae.likelihoods import Likelihood
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from tests.support.small import small_data

SMALL: dict[str, Any] = {"encoder": partial(MLPEncoder, hidden=[8]), "decoder": MLPDecoder}
ON_A_SPHERE = {HypersphericalUniform, VonMisesFisher}
PARTS = [
    (role, part)
    for role, base in (("prior", Prior), ("likelihood", Likelihood), ("posterior", Posterior))
    for part in concrete(base)
    if part.__module__.startswith("pyrovae.")
]


@pytest.mark.parametrize(
    ("role", "part"), PARTS, ids=lambda value: getattr(value, "__name__", value)
)
def test_every_part_is_made_of_the_sizes_that_follow(role: str, part: type) -> None:
    others = {"prior": HypersphericalUniform, "posterior": VonMisesFisher}
    chosen = others if part in ON_A_SPHERE else {}
    made = partial(part, num_components=3) if part is VampPrior else part
    data = small_data()
    vae = VAE.for_images(data, 6, **(SMALL | chosen | {role: made}))
    assert vae.sample(
        2,
    ).shape == (2, *data.image_shape)
    x = vae.observe(torch.from_numpy(data.split("val").images[:3].copy()))
    assert vae.encode(x).event_shape == (6,)


def test_an_object_is_taken_as_it_is() -> None:
    vae = VAE.for_images(small_data(), 6, likelihood=(own := Normal(0.5)), **SMALL)
    assert vae.likelihood is own
    with pytest.raises(ValueError, match="same latent_dim"):
        VAE.for_images(small_data(), 6, prior=VampPrior(5, small_data().image_shape), **SMALL)


def test_a_vae_for_images_prepares_images_as_its_data_set_does() -> None:
    data: ImageData = small_data()
    assert VAE.for_images(data, 6, **SMALL).data is data


@pytest.mark.slow
def test_the_default_recipe_is_that_of_the_default_preset() -> None:
    parser = train_parser()
    objects = instantiate(parser, parser.parse_args(["--config", str(preset_path("default"))]))
    first, second = recipe(objects), Recipe.default()
    weight = torch.nn.Parameter(torch.zeros(3))
    made = [one.optimizer([weight]) for one in (first, second)]
    assert type(made[0]) is type(made[1]) and made[0].defaults == made[1].defaults
    # The judge calls no run of the default recipe one of a high learning rate.
    assert made[0].defaults["lr"] <= HIGH_LR
    for name in ("schedule", "objective", "beta", "start"):
        assert _plain(getattr(first, name)) == _plain(getattr(second, name))
    torch.manual_seed(0)
    whole = VAE.for_images(objects.data)
    torch.manual_seed(0)
    sizes = [tuple(p.shape) for p in build_vae(objects).parameters()]
    assert [tuple(p.shape) for p in whole.parameters()] == sizes


def _plain(part: Any) -> Any:
    inner = {n: v for n, v in getattr(part, "__dict__", {}).items() if not n.startswith("_")}
    return type(part).__name__, {
        name: _plain(value) if type(value).__module__.startswith("pyrovae") else str(value)
        for name, value in inner.items()
    }


def test_ten_lines_of_python_train() -> None:
    data = small_data()
    vae = VAE.for_images(data, 4, **SMALL)
    history = Trainer(epochs=1, batch_size=8, clip_norm=1000.0).fit(vae, data, Recipe.default())
    assert history.state.epoch == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"latent_dim": 4.0}, "latent_dim must be an integer, got 4.0"),
        ({"prior": "VampPrior"}, "a part is a class, .*, or an object; got 'VampPrior'"),
        (
            {"prior": partial(VampPrior, num_component=5)},
            r"VampPrior has no argument num_component \(did you mean num_components\?\); its",
        ),
    ],
)
def test_what_makes_no_part_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        VAE.for_images(small_data(), **SMALL, **given)


def test_parts_that_return_no_distribution_are_named() -> None:
    prior = StandardNormal(2)
    prior.forward = lambda: None  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(TypeError, match="StandardNormal.* must be of the kind Distribution, got"):
        VAE.for_images(small_data(), 2, **SMALL, prior=prior)
    vae = VAE.for_images(small_data(), 2, **SMALL, likelihood=Normal)
    vae.likelihood.forward = lambda h: h  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(InputError, match="^the parts and the data do not fit together: "):
        Trainer(epochs=1).fit(vae, small_data())
