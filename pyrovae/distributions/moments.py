"""Moments of distributions, also where no formula knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

__all__ = ["Marginal", "centre", "marginal", "marginals", "moments"]

#: Draws that stand for a distribution whose moments no formula knows.
DRAWS = 200
#: Draws of the other latent sites, over which one that depends on them is averaged.
MIXED = 100


class Marginal(NamedTuple):
    """What is known of each dimension of a distribution.

    Attributes:
        loc: its mean.
        scale: its standard deviation.
        noise: the expected squared error of `loc`: 0 unless draws stand for the mean.
    """

    loc: Tensor
    scale: Tensor
    noise: Tensor


def centre(q: dist.TorchDistribution) -> Tensor:
    """The mean of a distribution; of 100 draws where it has no closed form."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample((100,)).mean(0)


def moments(q: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each dimension; of 200 draws where no formula knows them."""
    return marginal(q)[:2]


def marginal(q: Any) -> Marginal:
    """As `moments`, with how far the mean may be off."""
    try:
        return Marginal(q.mean, q.variance.sqrt(), torch.zeros_like(q.mean))
    except (NotImplementedError, AttributeError):
        draws = q.sample((DRAWS,))
        return Marginal(draws.mean(0), draws.std(0), draws.var(0) / DRAWS)


def marginals(
    guide: Callable[..., Any], trace: Any, names: Sequence[str], x: Tensor, **inputs: Tensor
) -> dict[str, Marginal]:
    """What a guide says of each latent site given an image, `(B, ...)` each.

    With several sites the distribution of one may depend on draws of the others: those of 100
    draws are put together.

    Args:
        guide: the guide.
        trace: a run of it on these images.
        names: its latent sites.
        x: observations `(B, C, H, W)`.
        **inputs: what it takes besides.
    """
    if len(names) == 1:
        return {name: marginal(trace.nodes[name]["fn"]) for name in names}
    with pyro.plate("draws of each image", MIXED, dim=-2):
        many = poutine.trace(guide).get_trace(x, **inputs)
    return {name: _mixed(many.nodes[name]) for name in names}


def _mixed(node: Any) -> Marginal:
    """The marginal of a site over draws of what it depends on, the leftmost dimension."""
    means, variances = node["value"], torch.zeros_like(node["value"])
    try:
        means, variances = node["fn"].mean, node["fn"].variance
    except (NotImplementedError, AttributeError):
        pass  # Draws of the site itself tell as much.
    between = means.var(0)
    # What does not depend on the other sites varies by rounding alone.
    noise = torch.where(between > 1e-12 * means.square().mean(0), between / len(means), 0.0)
    return Marginal(means.mean(0), (between + variances.mean(0)).sqrt(), noise)
