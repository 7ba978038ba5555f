"""A small VAE, small data and a small run, shared by the tests of training and commands."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pyrovae import (
    VAE,
    ConvDecoder,
    ConvEncoder,
    DiagonalNormal,
    Engine,
    Likelihood,
    Recipe,
    RunDirectory,
    SharedScaleNormal,
    StandardNormal,
    SyntheticFaces,
    Trainer,
)
from pyrovae.runs import TrainingState

LATENT_DIM = 4
#: The columns of `metrics.csv` that differ between two equal runs.
VARYING = {"seconds", "images_per_second", "memory_gb", "device_memory_gb"}


def small_data(**kwargs: int) -> SyntheticFaces:
    return SyntheticFaces(
        **{"num_train": 80, "num_val": 20, "num_test": 20, "image_size": 16} | kwargs
    )


def small_vae(
    seed: int = 0,
    likelihood: Likelihood | None = None,
    shortcut: bool = False,
    channels: Sequence[int] = (4, 8),
) -> VAE:
    torch.manual_seed(seed)
    posterior = DiagonalNormal(LATENT_DIM)
    likelihood = likelihood or SharedScaleNormal()
    shape = (3, 16, 16)
    return VAE(
        encoder=ConvEncoder(shape, posterior.num_params, channels, shortcut),
        decoder=ConvDecoder(shape, LATENT_DIM, likelihood.num_maps(3), channels[::-1], shortcut),
        prior=StandardNormal(LATENT_DIM),
        likelihood=likelihood,
        posterior=posterior,
    )


def rows(run: Path) -> list[dict[str, str]]:
    """The metrics of a run, a row an epoch."""
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def adam(lr: float = 1e-2) -> Recipe:
    return Recipe(optimizer=partial(torch.optim.Adam, lr=lr))


def train(
    trainer: Trainer,
    recipe: Recipe | None = None,
    run: Path | None = None,
    *,
    vae: VAE | None = None,
    resume: Any = False,
    precision: str = "fp32",
) -> tuple[VAE, TrainingState]:
    vae = vae or small_vae()
    history = trainer.fit(
        vae,
        small_data(),
        recipe or adam(),
        Engine("cpu", precision),  # type: ignore[arg-type]
        run=RunDirectory(run) if run else None,
        resume=resume,
    )
    return vae, history.state


def same_weights(first: VAE, second: VAE) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
