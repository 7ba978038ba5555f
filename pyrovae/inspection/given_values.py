"""Programs with the values of their discrete latents given, one joint value after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import ModelGuidePair

__all__ = ["Handled", "joint_values", "with_values"]

#: Largest number of joint values of the discrete sites.
MOST = 64


class Handled(nn.Module):
    """A program that runs with a handler of Pyro, such as one that gives values to sites."""

    def __init__(self, program: nn.Module, handler: Messenger) -> None:
        super().__init__()
        self.program, self.handler = program, handler

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program."""
        with self.handler:
            return self.program(*args, **kwargs)


def joint_values(
    space: LatentSpace, x: Tensor, inputs: Mapping[str, Tensor]
) -> list[dict[str, Tensor]]:
    """All joint values of the discrete sites, `(1, *event)` each.

    Empty if there is no discrete or no continuous site, or there are more than 64 joint values.

    Args:
        space: the latents.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
    """
    trace = poutine.trace(space.programs.guide).get_trace(x, **inputs)
    names = [name for name in space.shapes if name in space.discrete]
    sites = [trace.nodes[name]["fn"] for name in names]
    enumerable = all(fn.has_enumerate_support for fn in sites)
    if not names or len(names) == len(space.shapes) or not enumerable:
        return []
    values = [(fn, fn.enumerate_support(expand=False)) for fn in sites]
    supports = [own.reshape(len(own), 1, *fn.event_shape) for fn, own in values]
    if math.prod(map(len, supports)) > MOST:
        return []
    return [dict(zip(names, own, strict=True)) for own in itertools.product(*supports)]


def with_values(programs: ModelGuidePair, values: Mapping[str, Tensor]) -> ModelGuidePair:
    """The same programs, in which these sites have these values."""
    both = programs.model, programs.guide
    model, guide = (Handled(own, poutine.condition(data=dict(values))) for own in both)
    networks = programs.networks()
    return ModelGuidePair(model, guide, programs.likelihood, networks, programs.attributes)
