"""The package's objectives, and what several of their tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

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
    LayerFreeBits,
    SaltAndPepper,
    StickingTheLanding,
)
from pyrovae.programs.vae import VAE
from tests.support.tables import IMAGE_SHAPE, make_vae, shake

MakeObjective = Callable[..., Any]


def _denoising_elbo(**kwargs: Any) -> Denoising:
    return Denoising(SaltAndPepper(0.3), Trace_ELBO(max_plate_nesting=1, **kwargs))


def _denoising_iwae(**kwargs: Any) -> Denoising:
    return Denoising(GaussianNoise(0.2), IWAE(**kwargs))


#: Every objective of the package; each takes `num_particles` and `vectorize_particles`.
OBJECTIVES: dict[str, MakeObjective] = {
    "IWAE": IWAE,
    "DReG": DReG,
    "StickingTheLanding": StickingTheLanding,
    "FreeBits": partial(FreeBits, threshold=0.3),
    "LayerFreeBits": partial(LayerFreeBits, threshold=0.3),
    "Capacity": partial(Capacity, capacity=2.0, gamma=3.0),
    "GECO": partial(GECO, target=-0.5, speed=0.1, memory=0.5),
    "BetaTC": partial(BetaTC, alpha=0.5, beta=3.0, gamma=2.0),
    "DIP": partial(DIP, off_diagonal=3.0, diagonal=2.0),
    "MMD": partial(MMD, alpha=0.3, weight=50.0),
    "Denoising-ELBO": _denoising_elbo,
    "Denoising-IWAE": _denoising_iwae,
}


def double_vae(**parts: str) -> VAE:
    """A small VAE in float64, its parameters off their start, and particles of like weights."""
    vae = make_vae("SharedScaleNormal", **parts)
    shake(vae)
    vae.likelihood.start_at(1.0)
    return vae.double()


def double_images(count: int = 4) -> Tensor:
    return torch.rand(count, *IMAGE_SHAPE, dtype=torch.float64)


@dataclass(frozen=True)
class Draws:
    """K draws of the latents of each image, and their log densities, `(K, B)`."""

    q: Any
    p: Any
    z: Tensor
    log_q: Tensor
    log_p: Tensor
    log_x: Tensor

    @property
    def rate(self) -> Tensor:
        return self.log_q - self.log_p

    @property
    def log_weights(self) -> Tensor:
        return self.log_x - self.rate


def draw(vae: VAE, x: Tensor, num_particles: int, seen: Tensor | None = None) -> Draws:
    """What an objective draws under the same seed, of particles at once."""
    q, p = vae.guide.z_dist(x if seen is None else seen), vae.model.z_dist()
    z = q.rsample((num_particles,))
    log_x = vae.model.x_dist(z).log_prob(x)
    return Draws(q, p, z, q.log_prob(z), p.log_prob(z), log_x)


def gradients(loss: Tensor, vae: VAE) -> list[Tensor]:
    """Those of all parameters; zero where there is none."""
    parameters = list(vae.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)
    ]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-10)


def assert_is(elbo: pyro.infer.ELBO, vae: VAE, x: Tensor, formula: Callable[[], Tensor]) -> None:
    """Fails unless value and gradients are those of a formula under the same seed."""
    torch.manual_seed(3)
    loss = elbo.differentiable_loss(vae.model, vae.guide, x)
    torch.manual_seed(3)
    expected = formula()
    assert torch.allclose(loss, expected, rtol=1e-10)
    assert_equal(gradients(loss, vae), gradients(expected, vae))
