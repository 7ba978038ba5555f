from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovae import InputError, ModelGuidePair, Recipe, RunDirectory, Trainer
from pyrovae.objectives import (
    DIP,
    GECO,
    IWAE,
    MMD,
    BetaTC,
    Capacity,
    Denoising,
    DReG,
    FreeBits,
    GaussianNoise,
    SaltAndPepper,
    StickingTheLanding,
)
from tests.support.objectives import double_images, double_vae
from tests.support.programs import two_latents
from tests.support.small import small_data
from tests.support.tables import make_vae

WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    *(
        (kind, {"num_particles": 0}, "num_particles must be at least 1, got 0")
        for kind in (
            IWAE,
            DReG,
            StickingTheLanding,
            FreeBits,
            Capacity,
            GECO,
            BetaTC,
            DIP,
            MMD,
        )
    ),
    (IWAE, {"num_particles": -3}, "num_particles must be at least 1, got -3"),
    *(
        (kind, {name: value}, f"{name} must be at least 0 and finite, got {value}")
        for kind, name in (
            (FreeBits, "threshold"),
            (Capacity, "capacity"),
            (BetaTC, "alpha"),
            (BetaTC, "beta"),
            (BetaTC, "gamma"),
            (DIP, "off_diagonal"),
            (DIP, "diagonal"),
        )
        for value in (-0.1, math.inf, math.nan)
    ),
    *(
        (kind, {name: value}, f"{name} must be positive and finite, got {value}")
        for kind, name in ((Capacity, "gamma"), (GECO, "speed"), (GaussianNoise, "scale"))
        for value in (0.0, -1.0, math.inf, math.nan)
    ),
    *(
        (GECO, {"target": value}, f"target must be finite, got {value}")
        for value in (math.inf, -math.inf, math.nan)
    ),
    *(
        (GECO, {"memory": value}, rf"memory must lie in \[0, 1\), got {value}")
        for value in (-0.1, 1.0, math.nan)
    ),
    *(
        (SaltAndPepper, {"probability": value}, rf"probability must lie in \(0, 1\], got {value}")
        for value in (0.0, 1.1, math.nan)
    ),
    *(
        (MMD, {"alpha": value}, f"alpha must be at most 1, got {value}")
        for value in (1.5, math.inf, math.nan)
    ),
    *(
        (MMD, {"weight": value}, f"weight must be at least 1 - alpha = 0.5.*, got {value}")
        for value in (0.4, -1.0, math.inf, math.nan)
    ),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), WRONG)
def test_wrong_arguments_are_one_line_with_what_is_allowed(
    kind: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind(**({"target": -1.5} if kind is GECO else {}) | arguments)


def observe(z: Tensor, x: Tensor) -> None:
    loc = z[..., None, None, None].expand(*z.shape, 1, 2, 2)
    pyro.sample("x", dist.Normal(loc, 1.0).to_event(3), obs=x)


def inside_model(x: Tensor) -> None:
    with pyro.plate("images", len(x), dim=-1):
        observe(pyro.sample("z", dist.Normal(0.0, 1.0)), x)


def discrete_model(x: Tensor) -> None:
    with pyro.plate("images", len(x), dim=-1):
        observe(pyro.sample("z", dist.Bernoulli(0.5)), x)


def outside_model(x: Tensor) -> None:
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("images", len(x), dim=-1):
        observe(z, x)


def discrete_guide(x: Tensor) -> None:
    with pyro.plate("images", len(x), dim=-1):
        pyro.sample("z", dist.Bernoulli(0.4))


def outside_guide(x: Tensor) -> None:
    pyro.sample("z", dist.Normal(0.0, 1.0))


def extra_guide(x: Tensor) -> None:
    with pyro.plate("images", len(x), dim=-1):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("more", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})


@pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])
@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize(
    ("model", "guide", "message"),
    [
        (outside_model, outside_guide, "site 'z' lies outside the plate of images"),
        (discrete_model, discrete_guide, r"site 'z' has no reparameterised draws \(Bernoulli\)"),
        (inside_model, extra_guide, "site 'more' of the guide is not in the model"),
    ],
)
def test_programs_that_do_not_fit_are_one_line(
    model: Any, guide: Any, message: str, num_particles: int, vectorize: bool
) -> None:
    objective = IWAE(num_particles, vectorize_particles=vectorize)
    with pytest.raises(ValueError, match=f"^{message}$"):
        objective.loss(model, guide, torch.zeros(4, 1, 2, 2))


def test_beta_tc_needs_independent_dimensions() -> None:
    vae = double_vae(posterior="FullRankNormal")
    message = (
        "^BetaTC needs a posterior of independent dimensions, such as DiagonalNormal; the guide's "
        "site 'z' is a MultivariateNormal$"
    )
    with pytest.raises(ValueError, match=message):
        BetaTC().loss(vae.model, vae.guide, double_images())


@pytest.mark.parametrize(("kind", "fewest"), [(DIP, 2), (MMD, 2)])
def test_comparisons_of_draws_need_several_images(kind: type, fewest: int) -> None:
    vae, name = double_vae(), kind.__name__
    with pytest.raises(ValueError, match=f"^{name} needs batches of at least {fewest} images$"):
        kind().loss(vae.model, vae.guide, double_images(fewest - 1))
    assert math.isfinite(kind().loss(vae.model, vae.guide, double_images(fewest)))


def vae_of(posterior: str) -> ModelGuidePair:
    return make_vae(posterior=posterior, shape=(3, 16, 16))


@pytest.mark.parametrize(
    ("objective", "programs", "batch_size", "reason"),
    [
        (DReG(2), two_latents, 16, "path gradients need one latent site, the guide has z1, z2"),
        (StickingTheLanding(), two_latents, 16, "path gradients need one latent site"),
        (BetaTC(), lambda: vae_of("FullRankNormal"), 16, "needs a posterior of independent"),
        (MMD(), lambda: vae_of("DiagonalNormal"), 1, "needs batches of at least 2 images"),
        (DIP(), lambda: vae_of("DiagonalNormal"), 1, "needs batches of at least 2 images"),
        (
            Denoising(GaussianNoise(), BetaTC()),
            lambda: vae_of("LowRankNormal"),
            16,
            "LowRankMultivariateNormal",
        ),
    ],
)
def test_training_says_so_before_anything_is_written(
    objective: Any,
    programs: Callable[[], ModelGuidePair],
    batch_size: int,
    reason: str,
    tmp_path: Path,
) -> None:
    trainer, run = Trainer(epochs=1, batch_size=batch_size), RunDirectory(tmp_path / "run")
    with pytest.raises(InputError, match=reason) as caught:
        trainer.fit(programs(), small_data(), Recipe(objective=objective), run=run)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
