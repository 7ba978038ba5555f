"""The posteriors of one split, shared by evaluation, inspection and training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.posterior.encoding import Encoding, encode
from pyrovae.posterior.passes import in_order, observations, seed_of
from pyrovae.posterior.space import LatentSpace, draw_prior, quietly
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.randomness import private_randomness

__all__ = ["PosteriorView"]


@dataclass(frozen=True, repr=False)
class PosteriorView:
    """A pair of programs and a split, with cached results.

    Attributes:
        programs: the pair of programs, on the engine's device.
        split: the images.
        engine: the device and the precision.
        seed: seed of all draws.
    """

    programs: ModelGuidePair
    split: Split
    engine: Engine
    seed: int = 0

    def __repr__(self) -> str:
        """The classes of the view and of the programs, and the split."""
        return f"<{type(self).__name__} of {type(self.programs).__name__}: {self.split}>"

    @cached_property
    def encoded(self) -> Encoding:
        """The posteriors of all images of the split."""
        return encode(self.programs, self.split, self.engine, seed=self.seed)

    @cached_property
    def space(self) -> LatentSpace:
        """The latent sites of the programs as one vector."""
        x, inputs = self.observed(self.split.take([0]))
        with self.quietly():
            return LatentSpace.of(self.programs, x, **inputs)

    @property
    def draws(self) -> dict[str, Tensor]:
        """One draw per image of each latent site, `(N, ...)`, on the engine's device."""
        z = torch.from_numpy(self.encoded.draws).to(torch.get_default_dtype())
        return self.space.unflatten(z.to(self.engine.device))

    def of(self, split: Split) -> PosteriorView:
        """A view with the same programs, engine and seed over another split."""
        return PosteriorView(self.programs, split, self.engine, self.seed)

    def observed(self, split: Split) -> tuple[Tensor, dict[str, Tensor]]:
        """The observations of a split, `(B, C, H, W)`, and the other inputs of the programs."""
        batches = in_order(self.programs, split, self.engine, len(split))
        images, attributes = next(batches.labelled(0))
        with torch.no_grad():
            placed = self.engine.place(images)
            x = observations(self.programs.scored_greys, placed, seed=self.seed)
        return x, self.programs.inputs(attributes)

    @contextmanager
    def quietly(self, place: int = 0) -> Iterator[None]:
        """Context in evaluation mode, without gradients; seed and position determine the draws."""
        with quietly(self.programs):
            with private_randomness(seed_of(self.seed, place), self.engine.device):
                yield

    def prior_draws(self, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Draws latents from the model; returns them, `(count, D)`, and the other inputs.

        Attributes are those of images spread evenly over the split.
        """
        programs, engine = self.programs, self.engine
        _, z, inputs = draw_prior(programs, self.split, engine, count, seed=self.seed)
        return z, inputs
