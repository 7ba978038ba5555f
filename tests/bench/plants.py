"""Faults that are planted by hand in the weights of a trained run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrovae.config.building import load_run
from pyrovae.distributions.constraints import bounded_log
from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.bench.images import basis

__all__ = ["Plant", "collapse", "folded", "linear", "noise"]


@dataclass(frozen=True)
class Plant:
    """A change of the weights of a run.

    Attributes:
        change: changes a VAE in place.
        settings: its further arguments.
    """

    change: Callable[..., None]
    settings: dict[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, run: Path) -> None:
        """Changes all checkpoints of a run."""
        vae, _ = load_run(run)
        self.change(vae, **self.settings)
        weights = {f"weights.{name}": value for name, value in vae.state_dict().items()}
        for path in (run / "checkpoints").glob("*.safetensors"):
            tensors, state = load_checkpoint(path)
            save_checkpoint(path, {**tensors, **weights}, state)

    def __str__(self) -> str:
        return f"{self.change.__name__} {self.settings}"


def noise(vae: Any, factor: float) -> None:
    """Multiplies the learned scale of the likelihood."""
    scale = vae.likelihood.scale
    scale.start_at(factor * float(scale()))


def collapse(vae: Any) -> None:
    """Makes the guide the prior, and the decoder a function of its biases."""
    encoder, decoder = vae.guide.encoder, vae.model.decoder
    mean = decoder(torch.zeros(1, vae.guide.posterior.latent_dim)).mean(0)
    decoder.start_linear(torch.zeros(mean.numel(), vae.guide.posterior.latent_dim), mean.flatten())
    pixels = mean[: vae.data.image_shape[0]].numel()
    encoder.start_linear(torch.zeros(vae.guide.posterior.num_params, pixels), torch.zeros(()))


def linear(
    vae: Any,
    *,
    size: int = 16,
    weight: float = 0.05,
    sigma: float = 0.04,
    factors: int = 8,
    copies: int = 1,
    shift: float = 0.0,
    shrink: float = 1.0,
    spread: float = 1.0,
    ignored: int = 0,
) -> None:
    """The model that drew the images of `factors`, with the best diagonal guide.

    Args:
        vae: its networks have a shortcut.
        size: of the images.
        weight: of each factor.
        sigma: the scale of the noise.
        factors: their number.
        copies: latents per factor, whose sum is the factor: the posterior is then tilted.
        shift: moves the aggregate posterior away from the prior in all dimensions.
        shrink: multiplies the guide's locations.
        spread: multiplies the guide's scales, which are standard deviations of Normals.
        ignored: further latents that hold information that the decoder ignores.
    """
    w = pixels_of(size, factors, weight).repeat(1, copies) / copies**0.5
    precision = torch.eye(w.shape[1]) + w.T @ w / sigma**2
    to_loc = shrink * torch.linalg.solve(precision, w.T / sigma**2)
    scale = spread * precision.diagonal().rsqrt()
    if ignored:
        random = torch.randn(ignored, len(w), generator=torch.Generator().manual_seed(0))
        random /= (random @ w).norm(dim=1, keepdim=True)
        to_loc, scale = (
            torch.cat([to_loc, random]),
            torch.cat([scale, torch.full((ignored,), 0.1)]),
        )
        w = torch.cat([w, torch.zeros(len(w), ignored)], 1)
    mean = torch.full((len(w),), 0.5)
    vae.model.decoder.start_linear(w, mean - shift * w.sum(1))
    raw = bounded_log(scale, vae.guide.posterior.LOG_SCALE_LIMIT)
    bias = torch.cat([shift - to_loc @ mean, raw])
    vae.guide.encoder.start_linear(torch.cat([to_loc, torch.zeros_like(to_loc)]), bias)
    vae.likelihood.start_at(sigma)


def folded(
    vae: Any, *, size: int = 16, weight: float = 0.05, sigma: float = 0.04, factors: int = 8
) -> None:
    """The model `0.5 + weight * sum_d |z_d| basis_d`, with a guide on one of its equal modes.

    Its networks are fully connected, with one hidden layer of two units per factor.
    """
    w = pixels_of(size, factors, weight)
    eye, zero = torch.eye(factors), torch.zeros(factors, factors)
    inner, outer = vae.model.decoder.layers[0], vae.model.decoder.layers[-1]
    inner.weight.copy_(torch.cat([eye, -eye]))
    inner.bias.zero_()
    outer.weight.copy_(torch.cat([w, w], 1))
    outer.bias.fill_(0.5)
    precision = 1 + w.square().sum(0) / sigma**2
    to_loc = w.T / sigma**2 / precision[:, None]
    first, last = vae.guide.encoder.layers[0], vae.guide.encoder.layers[-1]
    first.weight.copy_(torch.cat([to_loc, -to_loc]))
    first.bias.copy_(torch.cat([-to_loc.sum(1) / 2, to_loc.sum(1) / 2]))
    last.weight.copy_(torch.cat([torch.cat([eye, -eye], 1), torch.cat([zero, zero], 1)]))
    raw = bounded_log(precision.rsqrt(), vae.guide.posterior.LOG_SCALE_LIMIT)
    last.bias.copy_(torch.cat([torch.zeros(factors), raw]))
    vae.likelihood.start_at(sigma)


def pixels_of(size: int, factors: int, weight: float) -> Tensor:
    """The change of the pixels by each factor, `(pixels, factors)`."""
    return weight * torch.tensor(basis(size, factors)).flatten(1).T.float()
