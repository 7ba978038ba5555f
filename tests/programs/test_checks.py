"""Parts that do not fit together are refused, each by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.optim
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from pyrovae import (
    IWAE,
    VAE,
    BetaTC,
    DiagonalNormal,
    InputError,
    MLPDecoder,
    MLPEncoder,
    ModelGuidePair,
    Normal,
    Prior,
    Recipe,
    SharedScaleNormal,
    StandardNormal,
    SyntheticFaces,
    Trainer,
)
from pyrovae.utils.signals import Diverged

SHAPE = (3, 16, 16)
Make = Callable[[], Any]


def loose() -> Prior:
    """A prior whose dimensions are a batch, as one without `to_event` has them."""
    prior = StandardNormal(4)
    prior.forward = lambda: dist.Normal(torch.zeros(4), 1.0)  # type: ignore[method-assign]
    return prior


def make(**parts: Any) -> VAE:
    fitting = {
        "encoder": MLPEncoder(SHAPE, 8),
        "decoder": MLPDecoder(SHAPE, 4, 3),
        "prior": StandardNormal(4),
        "likelihood": SharedScaleNormal(),
        "posterior": DiagonalNormal(4),
    }
    return VAE(**(fitting | parts))


@pytest.fixture(scope="module")
def data() -> SyntheticFaces:
    return SyntheticFaces(num_train=32, num_val=8, num_test=8, image_size=16)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"encoder": MLPEncoder(SHAPE, 7)},
            r"encoder \(MLPEncoder\) returns \(8, 7\) .* \(8, 8\)",
        ),
        ({"encoder": MLPEncoder((3, 8, 8), 8)}, r"encoder \(MLPEncoder\) fails on \(8, 3, 16, 16"),
        ({"decoder": MLPDecoder(SHAPE, 5, 3)}, r"decoder \(MLPDecoder\) fails on \(8, 4\)"),
        ({"decoder": MLPDecoder(SHAPE, 4, 6)}, r"returns \(8, 6, 16, 16\) .* \(8, 3, 16, 16\)"),
        ({"decoder": MLPDecoder((3, 8, 8), 4, 3)}, r"returns \(8, 3, 8, 8\)"),
        (
            {"prior": loose()},
            r"prior \(StandardNormal\) returns .* \(\(4,\), \(\)\), .*see to_event",
        ),
    ],
    ids=["outputs", "images", "latents", "maps", "size", "event"],
)
def test_the_part_that_does_not_fit_is_named(
    parts: dict[str, Any], said: str, data: SyntheticFaces, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as error:
        Trainer(epochs=1, batch_size=8).fit(make(**parts), data, run=tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_what_fits_has_nothing_said_of_it(data: SyntheticFaces) -> None:
    vae = make()
    assert vae.misfit(vae.observe(torch.tensor(data.split("val").images))) == ""


class PixelModel(PyroModule):
    """Independent pixels in a plate of their own."""

    def __init__(self) -> None:
        super().__init__("pixel_model")
        self.decoder = nn.Linear(4, 3 * 16 * 16)

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        count = num_images if x is None else len(x)
        with pyro.plate("images", count, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        maps = self.decoder(z).T
        seen = None if x is None else x.flatten(1).T
        with pyro.plate("pixels", len(maps), dim=-2), pyro.plate("again", count, dim=-1):
            return pyro.sample("x", dist.Normal(maps, 0.1), obs=seen)


class PixelGuide(PyroModule):
    """z given an image."""

    def __init__(self) -> None:
        super().__init__("pixel_guide")
        self.encoder = nn.Linear(3 * 16 * 16, 4)

    def forward(self, x: Tensor, num_images: int = 1) -> None:
        with pyro.plate("images", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x.flatten(1)), 1.0).to_event(1))


class ChannelModel(PixelModel):
    """An offset per channel, in a plate of channels."""

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        count = num_images if x is None else len(x)
        with pyro.plate("images", count, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            with pyro.plate("channels", 3, dim=-2):
                offset = pyro.sample("offset", dist.Normal(torch.zeros(()), 1.0))
            maps = self.decoder(z).unflatten(-1, (3, 16, 16)) + offset.T[..., None, None]
            return pyro.sample("x", dist.Normal(maps, 0.1).to_event(3), obs=x)


class ChannelGuide(PixelGuide):
    """z and the offsets given an image."""

    def forward(self, x: Tensor, num_images: int = 1) -> None:
        with pyro.plate("images", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x.flatten(1)), 1.0).to_event(1))
            with pyro.plate("channels", 3, dim=-2):
                pyro.sample("offset", dist.Normal(x.mean((-2, -1)).T, 1.0))


@pytest.mark.parametrize(
    ("model", "guide", "said"),
    [
        (PixelModel, PixelGuide, r"the site x has the batch shape \(768, \d+\), must be \(\d"),
        (ChannelModel, ChannelGuide, r"the site offset has the batch shape \(3, \d+\), must be"),
    ],
)
def test_a_second_plate_is_named(
    model: type[PixelModel], guide: type[PixelGuide], said: str, data: SyntheticFaces
) -> None:
    programs = ModelGuidePair(model(), guide(), Normal(0.1))
    with pytest.raises(InputError, match=said) as error:
        Trainer(epochs=1, batch_size=8).fit(programs, data)
    assert "\n" not in str(error.value)


def test_a_latent_site_that_all_images_share_is_named(
    data: SyntheticFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = make()
    for program in (type(vae.model), type(vae.guide)):
        forward = program.forward

        def shared(self: Any, *given: Any, inner: Any = forward, **inputs: Any) -> Any:
            pyro.sample("s", dist.Normal(0.0, 1.0))
            return inner(self, *given, **inputs)

        monkeypatch.setattr(program, "forward", shared)
    with pytest.raises(InputError, match="^the latent site s has one value for all images; each"):
        Trainer(epochs=1, batch_size=8).fit(vae, data)


def plain(x: Any, num_images: int) -> Any:
    """The plate of images."""
    return pyro.plate("images", num_images if x is None else len(x), dim=-1)


class OwnModel(PyroModule):
    """A latent vector, and images that do not depend on it; `kind` is the mistake."""

    def __init__(self, kind: str) -> None:
        super().__init__("own_model")
        self.kind, self.bias = kind, PyroParam(torch.zeros(SHAPE))

    def forward(self, x: Any = None, num_images: int = 1) -> Any:
        bias = pyro.param("lost", torch.zeros(SHAPE)) if self.kind == "param" else self.bias
        net = torch.nn.Linear(4, 4) if self.kind == "module" else None
        weight = 0.1 if self.kind == "scaled" else 1.0
        whole = poutine.mask(mask=True)  # Leaves nothing out.
        with plain(x, num_images) as rows, poutine.scale(scale=weight), whole:
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            if net is not None:
                z = pyro.module("net", net)(z)
            images = dist.Normal(bias + 0 * z.sum((-1, -2)), 1.0).to_event(3)
            mask = torch.ones(len(rows)).bool() if self.kind == "mask" else None
            return pyro.sample("x", images, obs=x, obs_mask=mask)


class OwnGuide(PyroModule):
    def __init__(self, kind: str) -> None:
        super().__init__("own_guide")
        self.kind, self.loc = kind, PyroParam(torch.zeros(4))

    def forward(self, x: Any, num_images: int = 1) -> Any:
        with plain(x, num_images):
            pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
            if self.kind == "other":
                pyro.sample("a", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})


def own(kind: str) -> ModelGuidePair:
    return ModelGuidePair(OwnModel(kind), OwnGuide(kind), SharedScaleNormal())


@pytest.mark.filterwarnings("ignore:Found .*vars in")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("param", "^lost: this parameter is not an attribute of model or guide, so a checkpoint"),
        ("module", r"^net\$\$\$bias: this parameter is not an attribute of model or guide"),
        (
            "other",
            "^the guide draws a, which is not a site of the model; the model's latent",
        ),
        (
            "mask",
            "^the site x_observed lies within poutine.mask or has an obs_mask, which the scores",
        ),
    ],
)
def test_what_scores_or_checkpoints_would_not_see_is_named(
    kind: str, said: str, data: SyntheticFaces
) -> None:
    with pytest.raises(InputError, match=said):
        Trainer(epochs=1, batch_size=8).fit(own(kind), data)


@pytest.mark.parametrize("objective", [Trace_ELBO(), TraceMeanField_ELBO(), IWAE(1), BetaTC()])
def test_the_scale_of_a_site_weighs_it_in_the_loss_alone(
    objective: Any, data: SyntheticFaces
) -> None:
    found = []
    for kind in ("scaled", "right"):
        torch.manual_seed(0)
        recipe = Recipe(partial(torch.optim.SGD, lr=0.0), objective=objective)
        found.append(Trainer(epochs=1, batch_size=32).fit(own(kind), data, recipe).iloc[0])
    scaled, right = found
    assert scaled.train_elbo == pytest.approx(right.train_elbo, rel=1e-5)
    assert scaled.train_rate == pytest.approx(right.train_rate, rel=1e-5)
    assert scaled.val_elbo == right.val_elbo and scaled.train_loss < 0.5 * right.train_loss


def test_an_optimiser_that_cannot_be_made_is_named(data: SyntheticFaces) -> None:
    recipe = Recipe(optimizer=partial(torch.optim.Adam, lr=-1.0))
    with pytest.raises(InputError, match="^optimizer: Invalid learning rate"):
        Trainer(epochs=1, batch_size=8).fit(make(), data, recipe)
    recipe = Recipe(optimizer=torch.optim.SparseAdam)
    with pytest.raises(InputError, match="^--optimizer SparseAdam: .* dense gradients"):
        Trainer(epochs=1, batch_size=8).fit(make(), data, recipe)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Recipe(objective="IWAE"), "objective must be of the kind ELBO, got str"),
        (lambda: Recipe(objective=IWAE), "objective must be .*, got the class IWAE"),
        (lambda: Recipe(beta=4.0), "beta must be an object of Beta, got 4.0"),
        (lambda: Recipe(schedule=SyntheticFaces), "schedule must be .* the class SyntheticFaces"),
        (lambda: Recipe(optimizer=1e-3), "optimizer must be a function"),
        (lambda: make(prior=StandardNormal), "prior must be .* the class StandardNormal"),
        (lambda: make(encoder="MLP"), "encoder must be of the kind Module, got str"),
        (lambda: Trainer().fit(make(), "faces"), "data must be .* got str; a folder"),
        (lambda: Trainer().fit(make(), list(torch.rand(9, *SHAPE))), "data must be .* got list"),
        (
            lambda: Trainer().fit(make(), SyntheticFaces(num_train=8), IWAE(3)),
            "recipe must be .* got IWAE",
        ),
        (
            lambda: ModelGuidePair(
                make().model, make().guide, SharedScaleNormal(), attributes="smile"
            ),
            "attributes must be a list of names",
        ),
        (
            lambda: ModelGuidePair(lambda x: x, make().guide, SharedScaleNormal()),
            "model must be of the kind Module, got function; such as PyroModule",
        ),
    ],
)
def test_an_argument_of_another_kind_is_named(wrong: Make, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        wrong()


@pytest.mark.parametrize(
    "given",
    [
        lambda vae: vae.model(torch.zeros(2, *SHAPE, dtype=torch.uint8)),
        lambda vae: vae.guide(torch.zeros(2, *SHAPE, dtype=torch.uint8)),
        lambda vae: vae.guide(torch.zeros(*SHAPE)),
        lambda vae: vae.model(torch.zeros(*SHAPE)),
        lambda vae: vae.model(torch.zeros(5, 2, *SHAPE)),
    ],
)
def test_programs_take_nothing_that_they_would_misread(given: Callable[[VAE], Any]) -> None:
    with pytest.raises(ValueError, match=r"take observations \(B, C, H, W\)"):
        given(make())


@pytest.mark.parametrize(
    "images",
    [torch.rand(2, *SHAPE), np.zeros((2, *SHAPE), np.uint8), [[0.0]]],
    ids=["floats", "array", "list"],
)
def test_only_8_bit_images_are_observed(images: Any) -> None:
    with pytest.raises(ValueError, match="must be a uint8 tensor"):
        make().observe(images)


@pytest.mark.parametrize("count", [0, -2])
def test_there_must_be_an_image_to_draw(count: int) -> None:
    with pytest.raises(
        ValueError, match=f"num_images must be an integer of at least 1, got {count}"
    ):
        make().sample(count)


def test_only_a_loaded_vae_knows_the_preprocessing(tmp_path: Path) -> None:
    vae = make()
    with pytest.raises(ValueError, match="only programs loaded"):
        vae.preprocess(tmp_path / "a.png")
    vae.data = SyntheticFaces(image_size=16)
    with pytest.raises(InputError, match="must be a path or a Pillow image, got ndarray"):
        vae.preprocess(np.zeros(SHAPE, np.uint8))  # type: ignore[arg-type]


def test_a_decoder_of_too_few_maps_is_refused_before_training(
    data: SyntheticFaces, tmp_path: Path
) -> None:
    """Densities would repeat the one channel, and only pictures would show it."""
    vae = make(decoder=MLPDecoder((3, 16, 16), latent_dim=4, num_maps=1))
    with pytest.raises(InputError, match="the site x is 1x16x16, and the images are 3x16x16$"):
        Trainer(epochs=1, batch_size=8).fit(vae, data, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_needs_no_gradients_around_it(
    mode: Callable[[], AbstractContextManager[None]], data: SyntheticFaces
) -> None:
    vae = make()
    before = [p.detach().clone() for p in vae.parameters()]
    with mode():
        Trainer(epochs=1, batch_size=8).fit(vae, data)
    assert all((p != b).any() for p, b in zip(vae.parameters(), before, strict=True))


def test_numbers_of_a_run_are_integers() -> None:
    for name, value in (("epochs", 2.5), ("batch_size", "4"), ("max_skipped", 1.5)):
        with pytest.raises(TypeError, match=f"{name} must be an integer, got .*{value!r}$"):
            Trainer(**{name: value})  # type: ignore[arg-type]


def test_programs_may_have_further_observed_sites(
    data: SyntheticFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = make()
    forward = type(vae.model).forward

    def more(self: Any, x: torch.Tensor | None = None, num_images: int = 1) -> torch.Tensor:
        pyro.factor("reg", -1e-3 * self.decoder.layers[0].weight.square().sum())
        if x is not None:
            with pyro.plate("means", len(x), dim=-1):
                pyro.sample("mean", dist.Normal(0.5, 1.0), obs=x.mean((1, 2, 3)))
        return forward(self, x, num_images)

    monkeypatch.setattr(type(vae.model), "forward", more)
    assert len(Trainer(epochs=1, batch_size=8).fit(vae, data)) == 1


def test_an_optimiser_of_pyro_is_refused(data: SyntheticFaces) -> None:
    recipe = Recipe(optimizer=pyro.optim.Adam({"lr": 1e-3}))
    with pytest.raises(InputError, match="Optimizer, got NoneType; give a class or a partial"):
        Trainer(epochs=1, batch_size=8).fit(make(), data, recipe)


def test_a_run_that_diverges_without_a_console_warns(
    data: SyntheticFaces, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe(optimizer=partial(torch.optim.SGD, lr=1e12))
    with suppress(Diverged):
        Trainer(epochs=1, batch_size=8).fit(make(), data, recipe)
    assert "epoch 1: validation ELBO" in caplog.text and "lower learning rate" in caplog.text
