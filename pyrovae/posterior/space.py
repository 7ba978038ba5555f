"""The latent sites of a pair of programs as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.data import Split
from pyrovae.distributions.latent import innermost
from pyrovae.distributions.moments import is_discrete
from pyrovae.engine import Engine
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.pyro_state import own_store
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.sites import latent_sites, observed_sites

__all__ = ["LatentSpace", "draw_prior", "inputs_of", "quietly"]

#: Number of latents that are drawn from a model at once.
AT_ONCE = 200


@dataclass(frozen=True)
class LatentSpace:
    """The latent sites of a pair of programs as one vector z of length D.

    Sites are concatenated in the order in which the guide draws them. All methods use traces of
    the programs, so they support any sites and families, with or without attributes. Gradients
    are kept, the mode of the networks is not changed, and draws use torch's generator.

    Attributes:
        programs: the pair of programs.
        shapes: the event shape of each latent site.
        discrete: the names of the discrete sites, such as a one-hot class.
        integers: the least and the largest value of the sites whose values are integers, such as
            those of `Categorical`.
        given: values `(1, *event)` of further sites.

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
    discrete: frozenset[str] = frozenset()
    integers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    given: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def of(cls, programs: ModelGuidePair, x: Tensor, **inputs: Tensor) -> LatentSpace:
        """The latent space of the sites that the guide draws for observations `(B, C, H, W)`."""
        trace = poutine.trace(programs.guide).get_trace(x, **inputs)
        sites = {name: trace.nodes[name] for name in latent_sites(trace)}
        shapes = {name: node["fn"].event_shape for name, node in sites.items()}
        discrete = frozenset(name for name, node in sites.items() if is_discrete(node["fn"]))
        whole = (name for name, node in sites.items() if not node["value"].is_floating_point())
        return cls(programs, shapes, discrete, {name: _ends(sites[name]["fn"]) for name in whole})

    @property
    def size(self) -> int:
        """The number of dimensions D over all sites."""
        return sum(shape.numel() for shape in self.shapes.values())

    @property
    def continuous_size(self) -> int:
        """The number of dimensions of continuous sites: without the entries of a one-hot class."""
        own = (shape for name, shape in self.shapes.items() if name not in self.discrete)
        return sum(shape.numel() for shape in own)

    @property
    def names(self) -> list[str]:
        """The names of the dimensions: site and index, such as `z[3]`."""
        return [f"{name}[{i}]" for name, s in self.shapes.items() for i in range(s.numel())]

    @property
    def slices(self) -> dict[str, slice]:
        """The slice of the vector for each site."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            found[name] = slice(start, start + shape.numel())
            start += shape.numel()
        return found

    def flatten(self, latents: dict[str, Tensor]) -> Tensor:
        """Concatenates values `(*, ...)` of all sites to vectors `(*, D)`."""
        own = {name: latents[name] for name in self.shapes}
        own |= {name: own[name].to(torch.get_default_dtype()) for name in self.integers}
        both = [(own[name], len(shape)) for name, shape in self.shapes.items()]
        return torch.cat([z.flatten(z.ndim - n) if n else z.unsqueeze(-1) for z, n in both], -1)

    def unflatten(self, z: Tensor) -> dict[str, Tensor]:
        """Splits vectors `(*, D)` into values of the sites; integers are the nearest ones."""
        found = {
            name: z[..., self.slices[name]].reshape(*z.shape[:-1], *shape)
            for name, shape in self.shapes.items()
        }
        nearest = {name: found[name].round().clamp(*ends) for name, ends in self.integers.items()}
        return found | {name: value.long() for name, value in nearest.items()}

    def values(self, z: Tensor) -> dict[str, Tensor]:
        """The values of the sites of vectors `(*, D)`, and the given ones of further sites."""
        known = {n: own.expand(*z.shape[:-1], *own.shape[1:]) for n, own in self.given.items()}
        return self.unflatten(z) | known

    def prior_draws(self, num_images: int, **inputs: Tensor) -> Tensor:
        """Draws latents from the model, `(num_images, D)`, without decoding them."""
        trace = self._undecoded(self.programs.model, num_images, inputs)
        return self.flatten({name: trace.nodes[name]["value"] for name in self.shapes})

    def guide_draws(self, num_draws: int, x: Tensor, **inputs: Tensor) -> Tensor:
        """Draws `num_draws` latents per image from the guide, `(S, B, D)`."""
        trace = self.guide_trace(num_draws, x, **inputs)
        return self.flatten({name: trace.nodes[name]["value"] for name in self.shapes})

    def guide_trace(self, num_draws: int, x: Tensor, **inputs: Tensor) -> Any:
        """A trace of the guide with `num_draws` latents per image."""
        # In a plate, so that the encoder runs once for all draws.
        with pyro.plate("draws of each image", num_draws, dim=-2):
            return poutine.trace(self.programs.guide).get_trace(x, **inputs)

    def decode(self, z: Tensor, **inputs: Tensor) -> Any:
        """p(x given z) for `(*, B, D)`: batch shape `(*, B)`, event shape `(C, H, W)`."""
        given = poutine.condition(self.programs.model, data=self.values(z))
        return _of_each(z, self._unseen(given, z.shape[-2], inputs).nodes["x"]["fn"])

    def log_joint(self, z: Tensor, x: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x given z), each `(*, B)`, for z `(*, B, D)` and x `(B, C, H, W)`.

        If the model observes further sites, the second term has their log densities too.
        """
        given = poutine.condition(self.programs.model, data=self.values(z))
        trace = poutine.trace(given).get_trace(x, **inputs)
        _of_each(z, trace.nodes["x"]["fn"])
        seen = [trace.nodes[own] for own in observed_sites(trace) if own not in self.shapes]
        fit = sum(node["fn"].log_prob(node["value"]) for node in seen)
        return self._scores(trace, z), fit + torch.zeros_like(z[..., 0])

    def log_prior(self, z: Tensor, **inputs: Tensor) -> Tensor:
        """Log p(z), `(*, B)`, for z `(*, B, D)`, without decoding z."""
        return self._scores(self.prior_trace(z, **inputs), z)

    def prior_trace(self, z: Tensor, **inputs: Tensor) -> Any:
        """A trace of the model at z `(*, B, D)`, which ends before z is decoded."""
        given = poutine.condition(self.programs.model, data=self.values(z))
        return self._undecoded(given, z.shape[-2], inputs)

    def log_guide(self, z: Tensor, x: Tensor, **inputs: Tensor) -> Tensor:
        """Log q(z given x), `(*, B)`, for z `(*, B, D)` and x `(B, C, H, W)`."""
        given = poutine.condition(self.programs.guide, data=self.unflatten(z))
        return self._scores(poutine.trace(given).get_trace(x, **inputs), z)

    def show(self, z: Tensor, **inputs: Tensor) -> Tensor:
        """The decoded images of z `(*, B, D)`: floats in [0, 1], `(*, B, C, H, W)`."""
        return self.programs.likelihood.to_images(self.decode(z, **inputs))

    def _scores(self, trace: Any, z: Tensor) -> Tensor:
        """The summed log densities of the latent sites of a trace, `(*, B)`."""
        nodes = [trace.nodes[name] for name in self.shapes]
        start = torch.zeros(z.shape[:-1], dtype=z.dtype, device=z.device)
        return sum((node["fn"].log_prob(node["value"]) for node in nodes), start)

    def _unseen(self, model: Any, num_images: int, inputs: dict[str, Tensor]) -> Any:
        """A trace of the model in which x is not drawn."""
        unseen = poutine.condition(model, data={"x": torch.zeros(())})
        return poutine.trace(unseen).get_trace(num_images=num_images, **inputs)

    def _undecoded(self, model: Any, num_images: int, inputs: dict[str, Tensor]) -> Any:
        """A trace of the model that ends after the last latent site."""
        # Inside the tracer, so that the last site is in the trace.
        tracer = poutine.trace(_StopAfter(self.shapes)(model))
        unseen = poutine.condition(tracer, data={"x": torch.zeros(())})
        with suppress(_AllSeen):
            unseen(num_images=num_images, **inputs)
        return tracer.trace


def _ends(fn: Any) -> tuple[float, float]:
    """The least and the largest value of a distribution of integers, as far as it states them."""
    try:
        ends = vars(innermost(fn.support))
    except (NotImplementedError, AttributeError):
        ends = {}
    low, high = ends.get("lower_bound", -math.inf), ends.get("upper_bound", math.inf)
    return float(torch.as_tensor(low).min()), float(torch.as_tensor(high).max())


class _AllSeen(Exception):  # noqa: N818 - it signals the regular end of a run, not an error.
    """Raised after the last requested site of a run."""


class _StopAfter(Messenger):
    """Messenger that ends a program as soon as the given sites have values.

    It saves the time for decoding, which is most of the time of a model.

    Args:
        names: names of the sites.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.missing = set(names)

    def _pyro_post_sample(self, msg: Any) -> None:
        self.missing.discard(msg["name"])
        if not self.missing:
            raise _AllSeen


def _of_each(z: Tensor, fn: Any) -> Any:
    """Returns a distribution of images; raises unless its batch shape is that of the latents."""
    if fn.batch_shape != z.shape[:-1]:
        raise InputError(
            f"for latents {tuple(z.shape)} the model returns images of batch shape "
            f"{tuple(fn.batch_shape)}, must be {tuple(z.shape[:-1])}: see ModelGuidePair"
        )
    return fn


@contextmanager
def quietly(programs: ModelGuidePair) -> Iterator[None]:
    """Context without gradients and validation, in evaluation mode, with a scoped param store.

    Args:
        programs: the pair of programs; their networks are in evaluation mode inside.
    """
    with (
        own_store(programs),
        pyro.validation_enabled(False),
        evaluation_mode(programs),
        torch.no_grad(),
    ):
        yield


def inputs_of(
    programs: ModelGuidePair, split: Split, rows: np.ndarray, engine: Engine
) -> dict[str, Tensor]:
    """The inputs of programs besides images for some rows of a split; reads no image.

    Args:
        programs: the pair of programs.
        split: the split.
        rows: the rows, `(N,)`.
        engine: the device and the precision.
    """
    columns = split.places(programs.attributes)
    attributes = torch.from_numpy(split.attributes[rows][:, columns])
    return programs.inputs(attributes.to(engine.device))


def draw_prior(
    programs: ModelGuidePair, split: Split, engine: Engine, count: int, *, seed: int = 0
) -> tuple[LatentSpace, Tensor, dict[str, Tensor]]:
    """Draws latents from the model of a pair of programs.

    Args:
        programs: the pair of programs, on the engine's device.
        split: the source of attributes, those of images spread evenly over it.
        engine: the device and the precision.
        count: number of draws.
        seed: seed of the draws.

    Returns:
        The latent space, the draws `(count, D)`, and the other inputs of the programs.
    """
    inputs = inputs_of(programs, split, np.linspace(0, len(split) - 1, count).astype(int), engine)
    few = {name: value[:1] for name, value in inputs.items()}
    with quietly(programs), private_randomness(seed, engine.device):
        x = programs.observe_greys(torch.from_numpy(np.array(split.images[:1])).to(engine.device))
        space = LatentSpace.of(programs, x, **few)
        parts = []
        for start in range(0, count, AT_ONCE):  # Limits the memory of the draws.
            own = {name: value[start : start + AT_ONCE] for name, value in inputs.items()}
            parts.append(space.prior_draws(min(AT_ONCE, count - start), **own))
        return space, torch.cat(parts), inputs
