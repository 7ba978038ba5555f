"""Programs with the values of their discrete latents given, one joint value after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyro import poutine
from torch import Tensor, nn

from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import ModelGuidePair

__all__ = ["given_space", "joint_values", "with_values"]

#: Largest number of joint values of the discrete sites.
MOST = 64


class _Given(nn.Module):
    """A program in which sites have given values."""

    def __init__(self, program: nn.Module, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.program, self.values = program, dict(values)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return poutine.condition(self.program, data=self.values)(*args, **kwargs)


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
    if not names or len(names) == len(space.shapes):
        return []
    supports = []
    for name in names:
        fn = trace.nodes[name]["fn"]
        if not fn.has_enumerate_support:
            return []
        values = fn.enumerate_support(expand=False)
        supports.append(values.reshape(len(values), 1, *fn.event_shape))
    if math.prod(map(len, supports)) > MOST:
        return []
    return [dict(zip(names, own, strict=True)) for own in itertools.product(*supports)]


def with_values(programs: ModelGuidePair, values: Mapping[str, Tensor]) -> ModelGuidePair:
    """The same programs, in which these sites have these values."""
    model, guide = (_Given(own, values) for own in (programs.model, programs.guide))
    networks = programs.networks()
    return ModelGuidePair(model, guide, programs.likelihood, networks, programs.attributes)


def given_space(
    programs: ModelGuidePair, values: Mapping[str, Tensor], x: Tensor, inputs: dict[str, Tensor]
) -> LatentSpace:
    """The latent space of the other sites of `with_values`; log p(x given z) scores the values."""
    return replace(LatentSpace.of(programs, x, **inputs), given=values)
