"""Every part with every other: three steps of training, a checkpoint, and the same ELBO again.

All triples of prior, likelihood, posterior and objective are covered, in both shapes of images;
with PYROVAE_MATRIX=full in the environment all combinations are, which takes half an hour.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyro
import pyro.infer
import pytest
import torch

from pyrovae import SVI, VAE, GroupedOptimizer
from pyrovae.evaluation import terms
from pyrovae.networks import ImageShape
from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.randomness import private_randomness
from tests.support.matrix import (
    FULL,
    LIKELIHOODS,
    OBJECTIVES,
    POSTERIORS,
    PRIORS,
    SHAPES,
    make,
    same_space,
)

pytestmark = pytest.mark.slow


def rows(objective: str, likelihood: str) -> Iterator[tuple[str, str, ImageShape]]:
    """Priors, posteriors and shapes for a pair: all of them, or so many that triples are met."""
    o, k = list(OBJECTIVES).index(objective), list(LIKELIHOODS).index(likelihood)
    if FULL:
        yield from itertools.product(PRIORS, POSTERIORS, SHAPES)
        return
    posteriors = list(POSTERIORS)
    for p, prior in enumerate(PRIORS):
        number = (o + k + p) % len(posteriors)
        yield prior, posteriors[number], SHAPES[(o + k // 2 + p // 2) % 2]


@torch.no_grad()
def elbo(vae: VAE, images: torch.Tensor) -> torch.Tensor:
    with evaluation_mode(vae), private_randomness(3, images.device):
        found = terms(vae.model, vae.guide, vae.observe(images))
    return -(found["rate"] + found["distortion"])


def check(names: tuple[str, str, str, str], shape: ImageShape, file: Path) -> None:
    """Two steps, a checkpoint, another VAE: nothing is lost."""
    prior, likelihood, posterior, objective = names
    vae = make(prior, likelihood, posterior, shape)
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3))
    with pyro.get_param_store().scope():
        svi = SVI(vae.model, vae.guide, optimizer, OBJECTIVES[objective]())
        before = [p.detach().clone() for p in vae.parameters()]
        for _ in range(2):
            svi.step(vae.observe(images))
            assert not svi.skipped
    assert any((p != b).any() for p, b in zip(vae.parameters(), before, strict=True))
    save_checkpoint(file, vae.state_dict(), {})
    again = make(prior, likelihood, posterior, shape)
    again.load_state_dict(load_checkpoint(file)[0])
    found = elbo(vae, images)
    assert found.isfinite().all() and torch.equal(found, elbo(again, images))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_combination_trains_saves_and_loads(
    objective: str, likelihood: str, tmp_path: Path
) -> None:
    dependent = {"DiagonalNormal", "Laplace"}
    for prior, posterior, shape in rows(objective, likelihood):
        names = (prior, likelihood, posterior, objective)
        if not same_space(prior, posterior):
            with pytest.raises(ValueError, match="must live in the same space"):
                make(prior, likelihood, posterior, shape)
        elif objective == "BetaTC" and posterior not in dependent:
            with pytest.raises(ValueError, match="needs a posterior of independent dimensions"):
                check(names, shape, tmp_path / "weights.safetensors")
        else:
            try:
                check(names, shape, tmp_path / "weights.safetensors")
            except Exception as error:
                raise AssertionError(f"{names} at {shape}: {error!r}") from error


def test_the_selection_covers_all_triples() -> None:
    chosen = {
        (o, k, p, q)
        for o, k in itertools.product(OBJECTIVES, LIKELIHOODS)
        for p, q, _ in rows(o, k)
    }
    for left_out in range(4):
        tables = [OBJECTIVES, LIKELIHOODS, PRIORS, POSTERIORS]
        kept = [table for i, table in enumerate(tables) if i != left_out]
        met = {tuple(n for i, n in enumerate(row) if i != left_out) for row in chosen}
        assert met >= set(itertools.product(*kept))
    pairs = {
        (o, k, s) for o, k in itertools.product(OBJECTIVES, LIKELIHOODS) for _, _, s in rows(o, k)
    }
    assert pairs == set(itertools.product(OBJECTIVES, LIKELIHOODS, SHAPES))
