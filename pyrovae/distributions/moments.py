"""Moments of distributions: in closed form, or else estimated from draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

__all__ = ["Marginal", "centre", "is_discrete", "marginal", "marginals", "moments"]

#: Draws for moments that have no closed form.
DRAWS = 200
#: Draws of the other latent sites, over which a dependent site is averaged. Each runs the networks
#: of the guide once per image; the standard deviation between them is known to one eighth.
MIXED = 32
#: Numbers that are drawn at once for these: networks need many times their memory.
AT_ONCE = 1_000_000


def is_discrete(fn: Any) -> bool:
    """Whether the values of a distribution are discrete; False if its support is not known."""
    try:
        return bool(fn.support.is_discrete)
    except (NotImplementedError, AttributeError):  # A user's distribution may have no support.
        return False


class Marginal(NamedTuple):
    """Moments of each dimension of a distribution.

    Attributes:
        loc: the mean.
        scale: the standard deviation.
        noise: the expected squared error of `loc`: 0 unless it is estimated from draws.
    """

    loc: Tensor
    scale: Tensor
    noise: Tensor


def centre(q: dist.TorchDistribution) -> Tensor:
    """The mean of a distribution; without a closed form, the mean of 100 draws."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample((100,)).mean(0)


def moments(q: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per dimension; without a closed form, those of 200 draws."""
    return marginal(q)[:2]


def marginal(q: Any) -> Marginal:
    """Returns `moments` and the expected squared error of the mean."""
    if (found := _closed_form(q)) is not None:
        mean, variance = found
        return Marginal(mean, variance.sqrt(), torch.zeros_like(mean))
    draws = _floats(q.sample((DRAWS,)))
    return Marginal(draws.mean(0), draws.std(0), draws.var(0) / DRAWS)


def _closed_form(q: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and variance of a distribution; None without a formula for them."""
    with suppress(NotImplementedError, AttributeError):
        mean, variance = q.mean, q.variance
        # The mean of `Categorical` is NaN, although its values have one. That of a Cauchy is, too.
        return None if mean.isnan().all() and is_discrete(q) else (mean, variance)
    return None


def marginals(
    guide: Callable[..., Any], trace: Any, names: Sequence[str], x: Tensor, **inputs: Tensor
) -> dict[str, Marginal]:
    """The guide's marginal of each latent site per image, `(B, ...)` each.

    With several sites, the distribution of one may depend on draws of the others. Its marginal is
    then a mixture over 32 draws.

    Args:
        guide: the guide.
        trace: a trace of the guide on these images.
        names: the latent sites.
        x: observations `(B, C, H, W)`.
        **inputs: further inputs of the guide.
    """
    if len(names) == 1:
        return {name: marginal(trace.nodes[name]["fn"]) for name in names}
    size = sum(trace.nodes[name]["value"].numel() for name in names)
    every: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}
    for count in _pieces(MIXED, max(1, AT_ONCE // size)):
        with pyro.plate("draws of each image", count, dim=-2):
            many = poutine.trace(guide).get_trace(x, **inputs)
        for name in names:
            every[name].append(_of_draws(many.nodes[name]))
    return {name: _mixed(*map(torch.cat, zip(*own, strict=True))) for name, own in every.items()}


def _pieces(total: int, most: int) -> list[int]:
    """Splits a total into chunks of at most `most`."""
    return [min(most, total - start) for start in range(0, total, most)]


def _of_draws(node: Any) -> tuple[Tensor, Tensor]:
    """Means and variances of a site given each draw of the other sites, the leftmost dimension."""
    if (found := _closed_form(node["fn"])) is not None:
        return found
    # Without closed-form moments, draws of the site itself are used.
    drawn = _floats(node["value"])
    return drawn, torch.zeros_like(drawn)


def _floats(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def _mixed(means: Tensor, variances: Tensor) -> Marginal:
    """The marginal of a site over draws of the other sites."""
    between = means.var(0)
    # Means that do not depend on the other sites differ by rounding only.
    noise = torch.where(between > 1e-12 * means.square().mean(0), between / len(means), 0.0)
    return Marginal(means.mean(0), (between + variances.mean(0)).sqrt(), noise)
