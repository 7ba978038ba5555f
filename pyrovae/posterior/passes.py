"""How evaluation goes through a split: batches as the programs see them, with their own draws."""

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
from pyrovae.utils.randomness import private_randomness

__all__ = ["GROUP", "each_batch", "in_order", "observations", "observed", "seed_of"]

#: So many images in a row are observed with one seed, whoever looks at them.
GROUP = 10

#: More images than a split has.
PART = 2**40


def observations(
    observe: Callable[[Tensor], Tensor], images: Tensor, first: int = 0, *, seed: int = 0
) -> Tensor:
    """Images as a likelihood scores them: dequantised or binarised once, whoever looks at them.

    Args:
        observe: how images are observed.
        images: 8-bit, `(B, C, H, W)`.
        first: the place of the first of them in the split, a multiple of `GROUP`.
        seed: seed of what is random.
    """
    found = []
    for start in range(0, len(images), GROUP):
        with private_randomness(seed_of(seed, first + start), images.device):
            found.append(observe(images[start : start + GROUP]))
    return torch.cat(found)


def observed(
    likelihood: Likelihood, images: np.ndarray, *, seed: int = 0, batch_size: int = 100
) -> Iterator[Tensor]:
    """The observations of a whole split, some at a time, on the CPU."""
    for start in range(0, len(images), batch_size):
        some = torch.from_numpy(gather(images, np.arange(len(images))[start : start + batch_size]))
        yield observations(likelihood.scored, some, start, seed=seed)


def seed_of(seed: int, place: int) -> int:
    """A seed for the images from this place on; those of neighbouring places are unrelated."""
    numbers = (seed, abs(place), place < 0)  # Those of draws are asked for below zero.
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def in_order(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, batch_size: int = 100
) -> Batches:
    """All images of a split as they come, on the device, with what the programs take besides."""
    return Batches(
        images,
        batch_size=batch_size,
        seed=0,
        shuffle=False,
        device=engine.device,
        attributes=programs.attributes,
    )


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
    said: str | None = None,
) -> Iterator[Any]:
    """What a function of a batch gives for each batch of a split, in order.

    Images are dequantised, so that bits per dimension are a bound, and binarised images drawn
    once: see `observations`. The draws of a batch depend on the seed and its place alone: a pass
    may begin anywhere. Networks are in evaluation mode, no gradient is kept, and neither weights
    nor random generators are changed.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or where the programs need no attributes its uint8 images
            `(N, C, H, W)`.
        engine: where to compute.
        compute: called as `compute(x, **inputs)`.
        seed: seed of the draws.
        batch_size: images a batch, a multiple of `GROUP`.
        first: the place of the first of these images in the whole split, likewise.
        part: draws of another part of the same images are other ones.
        rows: places of those that are gone through, each observed as all of them would be.
        said: what a progress bar says is done; without it there is none.
    """
    from tqdm import tqdm

    hidden = None if said else True  # None: where no terminal shows it.
    chosen = images if rows is None else _taken(images, rows)
    batches = in_order(programs, chosen, engine, batch_size)
    bar = tqdm(total=len(batches.images), desc=said, unit="image", disable=hidden, file=sys.stderr)
    device, place = engine.device, first
    observe = programs.scored_greys
    with bar, evaluation_mode(programs):
        for batch, attributes in batches.labelled(0):
            own = -1 - place - part * PART  # Those of observing are at the places from 0 on.
            # Validation would take as long as the densities of many draws, to no new end.
            quick = pyro.validation_enabled(False)
            with quick, torch.no_grad(), private_randomness(seed_of(seed, own), device):
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
    """What `observations` of a whole split gives of the images at some places."""
    found = []
    for row in rows:
        first = row - row % GROUP
        places = np.arange(first, min(first + GROUP, len(images)))
        pixels = images.images if isinstance(images, Split) else images
        group = engine.place(torch.from_numpy(gather(pixels, places)))
        found.append(observations(observe, group, int(first), seed=seed)[row - first])
    return torch.stack(found)
