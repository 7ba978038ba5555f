"""The likelihood's noise, and the structure that is left in residuals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.distributions.ppca import fit_ppca
from pyrovae.engine import Engine
from pyrovae.inspection.dispersion import SCORED, best_scale, mean_and_variance, noise_size
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.passes import each_batch
from pyrovae.programs.pair import ModelGuidePair, run_both

__all__ = ["measure", "of_noise"]

#: Images of each split; linear latents that are fitted to residuals.
IMAGES, EXTRA = 400, 10
#: Added to the variance, as a share of its mean: pixels that the model is sure of, and that are
#: otherwise, would outweigh all others.
SURE_OF = 0.01
#: Least number of images to fit latents to.
LEAST = 40


def measure(subject: Subject) -> dict[str, Any]:
    """Fields of `Evidence` on the noise."""
    some = subject.split.spread(IMAGES)
    residuals, ratio = _residuals(subject, some)
    found = of_noise(subject.programs, some, subject.engine, ratio, seed=subject.seed)
    step = max(1, len(subject.split) // SCORED)
    whole = subject.programs, subject.split, subject.engine
    pixels = noise_size(*whole, seed=subject.seed, step=step)[1]
    if pixels is not None:
        found |= {"pixel_gain": pixels.value, "pixel_gain_error": pixels.error or 0.0}
    if subject.train is None or len(subject.train) < LEAST:
        return found
    fitted, usual = _residuals(subject, subject.train.spread(IMAGES))
    gain = _residual_gain(fitted, residuals)
    return found | {"train_dispersion": usual, "residual_gain": gain}


def of_noise(
    programs: ModelGuidePair, images: Split, engine: Engine, ratio: float, *, seed: int = 0
) -> dict[str, Any]:
    """Fields of `Evidence` on the scale of the noise.

    Args:
        programs: the pair of programs, on the engine's device.
        images: the images that the ratio was measured on.
        engine: where to compute.
        ratio: squared residuals over the variance that is expected, see `dispersion`.
        seed: seed of the draws.
    """
    likelihood = programs.likelihood
    found: dict[str, Any] = {"has_scale": likelihood.has_scale, "dispersion": ratio}
    if likelihood.has_scale and 0 < ratio < math.inf:
        best = best_scale(programs, images, engine, ratio, seed=seed)
        found |= {"noise_factor": best.factor, "noise_cost": best.gain}
    scale = likelihood.fixed_scale()
    return found if scale is None else {**found, "fixed_scale": scale}


def _residuals(subject: Subject, split: Split) -> tuple[Tensor, float]:
    """Residuals x - E[x given z] over their expected scale, `(N, n)`, and their dispersion."""

    def compute(x: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        node = run_both(subject.programs.model, subject.programs.guide, x, **inputs)[1].nodes["x"]
        mean, variance, noise = mean_and_variance(node["fn"])
        off, variance = node["value"] - mean, variance.expand_as(mean)
        sums = [own.flatten(1).sum(1) for own in (off.square() - noise, variance)]
        scaled = off / (variance + SURE_OF * variance.mean()).sqrt()
        return scaled.flatten(1).double().cpu(), torch.stack(sums).double().cpu()

    each = each_batch(subject.programs, split, subject.engine, compute, seed=subject.seed)
    residuals, sums = zip(*each, strict=True)
    squares, variances = torch.cat(sums, 1).sum(1)
    return torch.cat(residuals), float(squares / variances)


def _residual_gain(fitted: Tensor, scored: Tensor) -> float:
    """The gain of log p of residuals by a few linear latents over noise with one scale."""
    count = min(EXTRA, len(fitted) // 4, fitted.shape[1] - 1)
    model = fit_ppca(lambda: [fitted], count)
    scale = float(fitted.sub(fitted.mean(0)).square().mean().sqrt().clamp(min=1e-6))
    plain = torch.distributions.Normal(fitted.mean(0), scale).log_prob(scored).sum(-1)
    gain = float((model.log_prob(scored) - plain).mean())
    return gain if np.isfinite(gain) else math.nan
