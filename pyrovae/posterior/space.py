"""The latents of a pair of programs as one vector, whatever sites they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.sites import latent_sites

__all__ = ["LatentSpace", "draw_prior", "inputs_of", "quietly"]

#: Latents that are drawn from a model at once.
AT_ONCE = 200


@dataclass(frozen=True)
class LatentSpace:
    """The latents of a pair of programs as one vector z of D numbers, whatever sites they are.

    Sites lie side by side in the order in which the guide draws them. Everything that is asked
    of the programs goes through their traces: any sites, any families, with or without
    attributes. Gradients flow, networks stay in the mode they are in, draws are torch's.

    Attributes:
        programs: the pair of programs.
        shapes: the event shape of each latent site.

    Example:
        >>> from pyrovae import DiagonalNormal, MLPDecoder, MLPEncoder, Normal, StandardNormal, VAE
        >>> vae = VAE(
        ...     encoder=MLPEncoder((1, 8, 8), num_outputs=4),
        ...     decoder=MLPDecoder((1, 8, 8), latent_dim=2, num_maps=1),
        ...     prior=StandardNormal(2), likelihood=Normal(0.1), posterior=DiagonalNormal(2),
        ... )
        >>> space = LatentSpace.of(vae, torch.zeros(3, 1, 8, 8))
        >>> space.names
        ['z[0]', 'z[1]']
        >>> space.decode(space.prior_draws(5)).batch_shape
        torch.Size([5])
    """

    programs: ModelGuidePair
    shapes: dict[str, torch.Size]

    @classmethod
    @torch.no_grad()
    def of(cls, programs: ModelGuidePair, x: Tensor, **inputs: Tensor) -> LatentSpace:
        """The latents that the guide draws for some observations `(B, C, H, W)`."""
        trace = poutine.trace(programs.guide).get_trace(x, **inputs)
        sites = {name: trace.nodes[name]["fn"].event_shape for name in latent_sites(trace)}
        return cls(programs, sites)

    @property
    def size(self) -> int:
        """D, over all sites."""
        return sum(shape.numel() for shape in self.shapes.values())

    @property
    def names(self) -> list[str]:
        """The name of each dimension: site and place in it, as `z[3]`."""
        return [f"{name}[{i}]" for name, s in self.shapes.items() for i in range(s.numel())]

    @property
    def slices(self) -> dict[str, slice]:
        """Where each site lies in the vector."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            found[name] = slice(start, start + shape.numel())
            start += shape.numel()
        return found

    def flatten(self, latents: dict[str, Tensor]) -> Tensor:
        """Values `(*, ...)` of all sites as vectors `(*, D)`."""
        return torch.cat(
            [
                latents[name].flatten(latents[name].ndim - len(shape))
                if len(shape)
                else latents[name].unsqueeze(-1)
                for name, shape in self.shapes.items()
            ],
            -1,
        )

    def unflatten(self, z: Tensor) -> dict[str, Tensor]:
        """Vectors `(*, D)` as values of the sites."""
        return {
            name: z[..., self.slices[name]].reshape(*z.shape[:-1], *shape)
            for name, shape in self.shapes.items()
        }

    def prior_draws(self, num_images: int, **inputs: Tensor) -> Tensor:
        """Latents drawn from the model, `(num_images, D)`; nothing is decoded after the last."""
        trace = self._undecoded(self.programs.model, num_images, inputs)
        return self.flatten({name: trace.nodes[name]["value"] for name in self.shapes})

    def guide_draws(self, num_draws: int, x: Tensor, **inputs: Tensor) -> Tensor:
        """So many latents drawn from the guide for each image, `(S, B, D)`."""
        trace = self.guide_trace(num_draws, x, **inputs)
        return self.flatten({name: trace.nodes[name]["value"] for name in self.shapes})

    def guide_trace(self, num_draws: int, x: Tensor, **inputs: Tensor) -> Any:
        """A run of the guide that draws so many latents for each image, with its densities."""
        # In a plate, so that the encoder runs once for all draws.
        with pyro.plate("draws of each image", num_draws, dim=-2):
            return poutine.trace(self.programs.guide).get_trace(x, **inputs)

    def decode(self, z: Tensor, **inputs: Tensor) -> Any:
        """p(x given z) for `(*, B, D)`: batch shape `(*, B)`, event shape `(C, H, W)`."""
        given = poutine.condition(self.programs.model, data=self.unflatten(z))
        return _of_each(z, self._unseen(given, z.shape[-2], inputs).nodes["x"]["fn"])

    def log_joint(self, z: Tensor, x: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x given z), each `(*, B)`, for z `(*, B, D)` and x `(B, C, H, W)`."""
        given = poutine.condition(self.programs.model, data=self.unflatten(z))
        trace = poutine.trace(given).get_trace(x, **inputs)
        prior = self._scores(trace, z)
        node = trace.nodes["x"]
        return prior, _of_each(z, node["fn"]).log_prob(node["value"])

    def log_prior(self, z: Tensor, **inputs: Tensor) -> Tensor:
        """Log p(z), `(*, B)`, for z `(*, B, D)`; nothing is decoded after the last site."""
        given = poutine.condition(self.programs.model, data=self.unflatten(z))
        return self._scores(self._undecoded(given, z.shape[-2], inputs), z)

    def log_guide(self, z: Tensor, x: Tensor, **inputs: Tensor) -> Tensor:
        """Log q(z given x), `(*, B)`, for z `(*, B, D)` and x `(B, C, H, W)`."""
        given = poutine.condition(self.programs.guide, data=self.unflatten(z))
        return self._scores(poutine.trace(given).get_trace(x, **inputs), z)

    def show(self, z: Tensor, **inputs: Tensor) -> Tensor:
        """What the likelihood shows for `(*, B, D)`: floats in [0, 1], `(*, B, C, H, W)`."""
        return self.programs.likelihood.to_images(self.decode(z, **inputs))

    def _scores(self, trace: Any, z: Tensor) -> Tensor:
        """The summed log densities of the latent sites of a trace, `(*, B)`."""
        nodes = [trace.nodes[name] for name in self.shapes]
        start = torch.zeros(z.shape[:-1], dtype=z.dtype, device=z.device)
        return sum((node["fn"].log_prob(node["value"]) for node in nodes), start)

    def _unseen(self, model: Any, num_images: int, inputs: dict[str, Tensor]) -> Any:
        """A run of the model in which the noise of x is not drawn."""
        unseen = poutine.condition(model, data={"x": torch.zeros(())})
        return poutine.trace(unseen).get_trace(num_images=num_images, **inputs)

    def _undecoded(self, model: Any, num_images: int, inputs: dict[str, Tensor]) -> Any:
        """A run of the model that ends with the last of the latent sites."""
        # Inside of what traces, which sees a site before it ends the run.
        tracer = poutine.trace(_StopAfter(self.shapes)(model))
        unseen = poutine.condition(tracer, data={"x": torch.zeros(())})
        with suppress(_AllSeen):
            unseen(num_images=num_images, **inputs)
        return tracer.trace


class _AllSeen(Exception):  # noqa: N818 - it ends a run as it should, and is no error.
    """Says that a run has come to the last site that was asked for."""


class _StopAfter(Messenger):
    """Ends a program as soon as some sites have values.

    What a program draws or computes after them is not needed: of a model most of the time goes
    into decoding.

    Args:
        names: of the sites.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.missing = set(names)

    def _pyro_post_sample(self, msg: Any) -> None:
        self.missing.discard(msg["name"])
        if not self.missing:
            raise _AllSeen


def _of_each(z: Tensor, fn: Any) -> Any:
    """The distribution of images given latents `(*, B, D)`, which must be one for each."""
    if fn.batch_shape != z.shape[:-1]:
        raise InputError(
            f"for latents {tuple(z.shape)} the model has images of batch shape "
            f"{tuple(fn.batch_shape)}, and {tuple(z.shape[:-1])} is needed: see ModelGuidePair"
        )
    return fn


@contextmanager
def quietly(programs: ModelGuidePair) -> Iterator[None]:
    """Runs programs as they are: no gradients, no validation, nothing left in Pyro's store.

    Args:
        programs: the pair of programs; their networks are in evaluation mode inside.
    """
    store = pyro.get_param_store().scope()
    with store, pyro.validation_enabled(False), evaluation_mode(programs), torch.no_grad():
        yield


def inputs_of(
    programs: ModelGuidePair, split: Split, rows: np.ndarray, engine: Engine
) -> dict[str, Tensor]:
    """What programs take besides images, for some rows of a split; no image is read.

    Args:
        programs: the pair of programs.
        split: where the rows are.
        rows: which ones, `(N,)`.
        engine: where to.
    """
    columns = [list(split.attribute_names).index(name) for name in programs.attributes]
    attributes = torch.from_numpy(split.attributes[rows][:, columns])
    return programs.inputs(attributes.to(engine.device))


def draw_prior(
    programs: ModelGuidePair, split: Split, engine: Engine, count: int, *, seed: int = 0
) -> tuple[LatentSpace, Tensor, dict[str, Tensor]]:
    """Latents drawn from the model of a pair of programs.

    Args:
        programs: the pair of programs, on the engine's device.
        split: where they take attributes, these are those of images spread over it.
        engine: where to compute.
        count: how many draws.
        seed: seed of the draws.

    Returns:
        The latents' space, the draws `(count, D)`, and what the programs took besides.
    """
    inputs = inputs_of(programs, split, np.linspace(0, len(split) - 1, count).astype(int), engine)
    few = {name: value[:1] for name, value in inputs.items()}
    with quietly(programs), private_randomness(seed, engine.device):
        x = programs.observe_greys(torch.from_numpy(np.array(split.images[:1])).to(engine.device))
        space = LatentSpace.of(programs, x, **few)
        parts = []
        for start in range(0, count, AT_ONCE):  # The model decodes all that it draws.
            own = {name: value[start : start + AT_ONCE] for name, value in inputs.items()}
            parts.append(space.prior_draws(min(AT_ONCE, count - start), **own))
        return space, torch.cat(parts), inputs
