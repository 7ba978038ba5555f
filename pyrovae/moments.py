"""Moments of distributions, also where no formula knows them."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor

__all__ = ["centre", "moments"]

#: Draws that stand for a distribution whose moments no formula knows.
DRAWS = 200


def centre(q: dist.TorchDistribution) -> Tensor:
    """The mean of a distribution; of 100 draws where it has no closed form."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample((100,)).mean(0)


def moments(q: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each dimension; of 200 draws where no formula knows them."""
    try:
        return q.mean, q.variance.sqrt()
    except (NotImplementedError, AttributeError):
        draws = q.sample((DRAWS,))
        return draws.mean(0), draws.std(0)
