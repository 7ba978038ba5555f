"""How evaluation goes through a split: batches as the programs see them, with their own draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae.data import Batches, Split
from pyrovae.engine import Engine
from pyrovae.modes import evaluation_mode
from pyrovae.programs import Programs
from pyrovae.randomness import private_randomness

__all__ = ["each_batch"]

Seen = tuple[Tensor, dict[str, Tensor]]  # observations of a batch, and the programs' other inputs


def each_batch(
    programs: Programs,
    images: Split | np.ndarray,
    engine: Engine,
    compute: Callable[..., Any],
    *,
    seed: int = 0,
    batch_size: int = 100,
    said: str | None = None,
) -> Iterator[Any]:
    """What a function of a batch gives for each batch of a split, in order.

    Images are dequantised, so that bits per dimension are a bound. The draws of a batch, those
    of dequantising and binarising included, depend on the seed and its number alone: a pass may
    begin anywhere. Networks are in evaluation mode, no gradient is kept, and neither weights
    nor random generators are changed.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or where the programs need no attributes its uint8 images
            `(N, C, H, W)`.
        engine: where to compute.
        compute: called as `compute(x, **inputs)`.
        seed: seed of the draws.
        batch_size: images a batch.
        said: what a progress bar says is done; without it there is none.
    """
    from tqdm import tqdm

    batches = Batches(
        images,
        batch_size=batch_size,
        seed=seed,
        shuffle=False,
        device=engine.device,
        attributes=programs.attributes,
    )
    bar = tqdm(
        total=len(batches.images), desc=said, unit="image", disable=not said, file=sys.stderr
    )
    with bar, evaluation_mode(programs):
        for number, (batch, attributes) in enumerate(batches.labelled(0)):
            own = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
            # Validation would take as long as the densities of many draws, to no new end.
            quick = pyro.validation_enabled(False)
            with quick, torch.no_grad(), private_randomness(own, engine.device):
                x = programs.observe(engine.place(programs.likelihood.dequantize(batch)))
                found = compute(x, **programs.inputs(attributes))
            bar.update(len(batch))
            yield found
