"""KL divergences: those that torch lacks, which this module registers, and estimates of others."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from torch import Tensor
from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    kl_divergence,
    register_kl,
)

__all__ = ["divergence"]


def _kl_dependent_independent(q: MultivariateNormal | LowRankMultivariateNormal, p: Any) -> Tensor:
    """KL(q ‖ p) of a Normal q with full or low-rank covariance and a diagonal Normal p."""
    base = p.base_dist
    if not isinstance(base, Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    half_log_det = q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    spread = (q.variance + (q.loc - base.loc).square()) / base.variance
    return (0.5 * (spread - 1) + base.scale.log()).sum(-1) - half_log_det


for _family in (MultivariateNormal, LowRankMultivariateNormal):
    register_kl(_family, Independent)(_kl_dependent_independent)


def divergence(q: Any, p: Any, z: Tensor, closed: bool = True) -> Tensor:
    """KL(q ‖ p) if it has a closed form, else log q - log p at a draw.

    Args:
        q: a distribution.
        p: another one.
        z: a draw from q.
        closed: whether to use the closed form, see `drawn_in_order`.
    """
    if closed:
        with suppress(NotImplementedError):
            return kl_divergence(q, p)
    return q.log_prob(z) - p.log_prob(z)
