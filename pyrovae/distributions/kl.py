"""KL divergences that torch lacks; importing this module registers them for `kl_divergence`."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    register_kl,
)

__all__: list[str] = []


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
