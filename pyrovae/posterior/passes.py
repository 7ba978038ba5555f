"""Passes over a split: batches of observations with reproducible draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae.data import Batches, Split, gather
from pyrovae.engine import Engine
from pyrovae.likelihoods import Likelihood
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.progress import hides_bar
from pyrovae.utils.pyro_state import own_store
from pyrovae.utils.randomness import private_randomness

__all__ = ["each_batch", "in_order", "observations", "observed", "seed_of"]

#: Number of consecutive images that are observed with one seed, in every pass.
GROUP = 10

#: An upper limit of the number of images in a split.
PART = 2**40


def observations(
    observe: Callable[[Tensor], Tensor], images: Tensor, first: int = 0, *, seed: int = 0
) -> Tensor:
    """The observations of images, with the same dequantisation or binarisation in every pass.

    Args:
        observe: maps images to observations.
        images: 8-bit, `(B, C, H, W)`.
        first: the position of the first image in the split, a multiple of `GROUP`.
        seed: seed of the noise.
    """
    found = []
    for start in range(0, len(images), GROUP):
        with private_randomness(seed_of(seed, first + start), images.device):
            found.append(observe(images[start : start + GROUP]))
    return torch.cat(found)


def observed(
    likelihood: Likelihood, images: np.ndarray, *, seed: int = 0, batch_size: int = 100
) -> Iterator[Tensor]:
    """Yields the observations of a whole split in batches, on the CPU, in evaluation mode."""
    for start in range(0, len(images), batch_size):
        some = torch.from_numpy(gather(images, np.arange(len(images))[start : start + batch_size]))
        with evaluation_mode(likelihood):
            x = observations(likelihood.scored, some, start, seed=seed)
        yield x


def seed_of(seed: int, place: int) -> int:
    """A seed for the batch at a position of the split; seeds of different positions are unrelated.

    Args:
        seed: the seed of the pass.
        place: the position; `each_batch` uses negative positions for draws of latents.
    """
    numbers = (seed, abs(place), place < 0)
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def in_order(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, batch_size: int = 100
) -> Batches:
    """The batches of a split in order, on the device, with the attributes that programs take."""
    how: dict[str, Any] = {"device": engine.device, "attributes": programs.attributes}
    return Batches(images, batch_size=batch_size, seed=0, shuffle=False, **how)


def each_batch(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    engine: Engine,
    compute: Callable[..., Any],
    *,
    seed: int = 0,
    batch_size: int = 100,
    first: int = 0,
    part: int = 0,
    rows: np.ndarray | None = None,
    description: str | None = None,
) -> Iterator[Any]:
    """Yields the result of a function for each batch of a split, in order.

    Images are dequantised or binarised with the same noise in every pass, see `observations`. The
    draws of a batch depend only on the seed and on its position, so a pass can begin anywhere.
    Networks are in evaluation mode, without gradients. Neither weights nor random generators are
    changed.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split; or uint8 images `(N, C, H, W)`, if the programs need no attributes.
        engine: the device and the precision.
        compute: called as `compute(x, **inputs)`.
        seed: seed of the draws.
        batch_size: images per batch, a multiple of `GROUP`.
        first: the position of the first image in the whole split, a multiple of `GROUP`.
        part: passes with different parts have different draws.
        rows: positions of the images to use, with the same observations as in a pass over all
            images; None uses all images.
        description: text of the progress bar; None shows no bar.
    """
    from tqdm import tqdm

    hidden = hides_bar(bool(description))
    chosen = images if rows is None else _taken(images, rows)
    batches = in_order(programs, chosen, engine, batch_size)
    how = {"desc": description, "unit": "image", "disable": hidden, "file": sys.stderr}
    bar = tqdm(total=len(batches.images), **how)
    device, place = engine.device, first
    observe = programs.scored_greys
    with bar, evaluation_mode(programs):
        for batch, attributes in batches.labelled(0):
            own = -1 - place - part * PART  # Positions from 0 on are for `observations`.
            # Validation would about double the time of the densities of many draws.
            quick = pyro.validation_enabled(False)
            drawn = private_randomness(seed_of(seed, own), device)
            with own_store(programs), quick, torch.no_grad(), drawn:
                if rows is None:
                    x = observations(observe, engine.place(batch), place, seed=seed)
                else:
                    here = rows[place - first : place - first + len(batch)]
                    x = _observations_of(observe, images, here, engine, seed)
                found = compute(x, **programs.inputs(attributes))
            place += len(batch)
            bar.update(len(batch))
            yield found


def _taken(images: Split | np.ndarray, rows: np.ndarray) -> Split | np.ndarray:
    return images.take(rows) if isinstance(images, Split) else images[rows]


def _observations_of(
    observe: Callable[[Tensor], Tensor],
    images: Split | np.ndarray,
    rows: np.ndarray,
    engine: Engine,
    seed: int,
) -> Tensor:
    """The observations of the images at some positions, as in a pass over the whole split."""
    found = []
    for row in rows:
        first = row - row % GROUP
        places = np.arange(first, min(first + GROUP, len(images)))
        pixels = images.images if isinstance(images, Split) else images
        group = engine.place(torch.from_numpy(gather(pixels, places)))
        found.append(observations(observe, group, int(first), seed=seed)[row - first])
    return torch.stack(found)
