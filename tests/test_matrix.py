"""Every part with every other: three steps of training, a checkpoint, and the same ELBO again.

All pairs of prior, likelihood, posterior, objective and shape of images are covered; with
PYROVAE_MATRIX=full in the environment all combinations are, which takes half an hour.
"""

from __future__ import annotations

import functools
import itertools
from functools import partial
from pathlib import Path
from typing import Any

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


Names = tuple[str, str, str, str, ImageShape]
TABLES: list[list[Any]] = [*map(list, (OBJECTIVES, LIKELIHOODS, PRIORS, POSTERIORS)), SHAPES]


def possible(i: int, a: Any, j: int, b: Any) -> bool:
    """Whether an entry of table i goes with an entry of table j."""
    return (i, j) != (2, 3) or same_space(a, b)


@functools.cache
def chosen() -> list[Names]:
    """Combinations in which all pairs meet, each objective with each likelihood once or more."""
    if FULL:
        return [row for row in itertools.product(*TABLES) if same_space(row[2], row[3])]
    found: list[Any] = []
    for (o, objective), (k, likelihood) in itertools.product(*map(enumerate, TABLES[:2])):
        prior = TABLES[2][(o + k) % len(PRIORS)]
        suited = [posterior for posterior in POSTERIORS if same_space(prior, posterior)]
        shape = SHAPES[(o + k // 2) % 2]
        found.append((objective, likelihood, prior, suited[(o + 2 * k) % len(suited)], shape))
    for i, j in itertools.combinations(range(5), 2):
        met = {(row[i], row[j]) for row in found}
        for a, b in itertools.product(TABLES[i], TABLES[j]):
            if (a, b) not in met and possible(i, a, j, b):
                base = next(row for row in found if row[i] == a)
                found.append(suit([*base[:j], b, *base[j + 1 :]], j))
    return found


def suit(row: list[Any], changed: int) -> Names:
    """The combination with another prior or posterior if they no longer go together."""
    if not same_space(row[2], row[3]):
        other = 5 - changed
        pairs = ([*row[:other], name, *row[other + 1 :]] for name in TABLES[other])
        row = next(own for own in pairs if same_space(own[2], own[3]))
    return row[0], row[1], row[2], row[3], row[4]


@torch.no_grad()
def elbo(vae: VAE, images: torch.Tensor) -> torch.Tensor:
    with evaluation_mode(vae), private_randomness(3, images.device):
        found = terms(vae.model, vae.guide, vae.observe(images))
    return -(found["rate"] + found["distortion"])


def check(names: tuple[str, str, str, str], shape: ImageShape, file: Path) -> None:
    """Two steps, a checkpoint, another VAE: nothing is lost."""
    objective, likelihood, prior, posterior = names
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
    independent = {"DiagonalNormal", "Laplace"}
    for row in chosen():
        prior, posterior, shape = row[2:]
        if row[:2] != (objective, likelihood):
            continue
        if objective == "BetaTC" and posterior not in independent:
            with pytest.raises(ValueError, match="needs a posterior of independent dimensions"):
                check(row[:4], shape, tmp_path / "weights.safetensors")
            continue
        try:
            check(row[:4], shape, tmp_path / "weights.safetensors")
        except Exception as error:
            raise AssertionError(f"{row}: {error!r}") from error


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("prior", PRIORS)
def test_priors_and_posteriors_live_in_the_same_space(prior: str, posterior: str) -> None:
    if not same_space(prior, posterior):
        with pytest.raises(ValueError, match="must be on the same space"):
            make(prior, "Normal", posterior, SHAPES[0])


def test_the_selection_covers_all_pairs() -> None:
    for i, j in itertools.combinations(range(5), 2):
        met = {(row[i], row[j]) for row in chosen()}
        every = itertools.product(TABLES[i], TABLES[j])
        assert met == {(a, b) for a, b in every if possible(i, a, j, b)}
