"""A VAE made for a data set, and the recipe of the default preset."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from pyrovae import (
    VAE,
    Bernoulli,
    Beta,
    DynamicBinarization,
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
    Warmup,
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


class TwoOutputs(torch.nn.Module):
    """An encoder that returns means and log variances apart, as in other libraries."""

    def __init__(self, image_shape: tuple[int, int, int], num_outputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * 16 * 16, num_outputs // 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(x.flatten(-3)), self.layer(x.flatten(-3))


#: Mistakes in Python, and what the error says.
MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "prior": (lambda: vae(prior=Normal), "^prior must be of the kind Prior, got Normal"),
    "likelihood": (
        lambda: vae(likelihood=StandardNormal),
        "^likelihood must be of the kind Likelihood, got StandardNormal",
    ),
    "posterior": (
        lambda: vae(posterior=StandardNormal),
        "^posterior must be of the kind Posterior, got StandardNormal",
    ),
    "text": (
        lambda: vae(likelihood=partial(Normal, scale="0.1")),
        "^Normal: scale must be a number, got the text '0.1'$",
    ),
    "class": (
        lambda: Beta(4.0, Warmup),  # type: ignore[arg-type]
        r"^Beta: schedule must be an object, such as Warmup\(\), got the class Warmup$",
    ),
    "schedule": (
        lambda: Recipe(schedule=partial(torch.optim.lr_scheduler.StepLR, step_size=1)),  # type: ignore[arg-type]
        "^schedule must be an object of Schedule.*; got a scheduler of torch$",
    ),
    "two outputs": (
        lambda: fit(vae(encoder=TwoOutputs)),
        r"encoder \(TwoOutputs\) returns a tuple for .*, must return one tensor or distribution",
    ),
    "train and validation": (
        lambda: fit(vae(), small_data().split("val").images),
        "^recipe must be of the kind Recipe, got .*; .* in one mapping, {'train': ..., 'val'",
    ),
    "no path": (lambda: fit(vae(), run=""), "^run: allowed is the path of a directory, got ''$"),
    "grey values": (
        lambda: vae().encode(torch.rand(2, 3, 16, 16) * 255),
        "^floats from .* are not observations, which are from 0 to 1; pass grey values as uint8",
    ),
}


def vae(**parts: Any) -> VAE:
    return VAE.for_images(small_data(), 4, **{**SMALL, "prior": StandardNormal, **parts})


def fit(made: VAE, *others: Any, **options: Any) -> Any:
    return Trainer(epochs=1, batch_size=16).fit(made, small_data(), *others, **options)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_python_is_one_line(name: str) -> None:
    make, message = MISTAKES[name]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_floats_of_other_precision_are_encoded() -> None:
    made, x = vae(), torch.rand(2, 3, 16, 16)
    expected = made.encode(x).mean
    assert torch.equal(made.encode(x.double()).mean, expected)
    assert torch.equal(made.encode(x.double().numpy()).mean, expected)
    made.encode(1.5 * x - 0.2)  # Noise may lead out of [0, 1].
    many = torch.func.vmap(lambda own: made.encode(own[None]).mean[0])(x)
    assert torch.allclose(many, expected, atol=1e-6)
    binary = vae(likelihood=partial(Bernoulli, DynamicBinarization()))
    torch.manual_seed(0)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    binary.encode(x.round())
    assert torch.equal(torch.rand(3), drawn)
