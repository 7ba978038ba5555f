"""Checks that the latents of a pair of programs have support R^D, and densities."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.distributions.latent import innermost
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import run_both
from pyrovae.utils.errors import InputError

__all__ = ["require_density", "require_real"]


@torch.no_grad()
def require_real(space: LatentSpace, x: Tensor, **inputs: Tensor) -> None:
    """Raises `InputError` unless the support of all latent sites of both programs is R^D.

    Latents that are counts, or lie on a sphere, cannot be shifted and scaled.

    Args:
        space: the latents.
        x: observations `(B, C, H, W)`.
        **inputs: further inputs of the programs.
    """
    for trace in run_both(space.programs.model, space.programs.guide, x, **inputs):
        for name, shape in space.shapes.items():
            fn = trace.nodes[name]["fn"]
            away = torch.linspace(-3, 3, max(2, shape.numel()), device=x.device)
            if not _accepts(fn, away[: shape.numel()].reshape(shape)):
                support = type(innermost(fn.support)).__name__.strip("_").lower()
                raise InputError(
                    f"the latent site {name} has support {support}: allowed here is R^D"
                )


def _accepts(fn: Any, value: Tensor) -> bool:
    try:
        return bool(fn.support.check(value).all())
    except NotImplementedError:
        return True


@torch.no_grad()
def require_density(space: LatentSpace, x: Tensor, **inputs: Tensor) -> None:
    """Raises `InputError` if a latent site of the guide has no `log_prob` for its draws."""
    trace = poutine.trace(space.programs.guide).get_trace(x, **inputs)
    for name in space.shapes:
        node = trace.nodes[name]
        try:
            node["fn"].log_prob(node["value"])
        except NotImplementedError:
            raise InputError(
                f"the latent site {name} of the guide has no density (log_prob is not "
                f"implemented): allowed here are families with a density"
            ) from None
