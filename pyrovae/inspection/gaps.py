"""The gap between log p(x) and the ELBO, split into approximation and amortisation gap."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pyrovae.evaluation.evidence import many_log_weights, summary
from pyrovae.inspection.modes import find_modes
from pyrovae.inspection.real import require_density
from pyrovae.inspection.refinement import FullRankGuide, refine_full_rank, refine_guide, with_guide
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["gaps"]

#: The most latent dimensions of Normals with a full covariance matrix: the curvature takes two
#: gradients of log p(x, z) per dimension, and decompositions take the cube of their number.
MOST_DIMS = 1024


@dataclass(frozen=True)
class Gaps:
    """The gaps of images.

    Attributes:
        table: one row per image; see `gaps`.
        notes: one sentence per refinement that is impossible; its columns are NaN.
    """

    table: pandas.DataFrame
    notes: list[str] = field(default_factory=list)


@torch.no_grad()
def gaps(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    steps: int = 400,
    num_samples: int = 1000,
    starts: int = 16,
) -> Gaps:
    r"""The gap between log p(x) and the ELBO of each image, split into two parts.

    $$\log p(x) - \text{ELBO}[q] = \underbrace{\log p(x) - \text{ELBO}[q^*]}_{\text{approximation}}
    + \underbrace{\text{ELBO}[q^*] - \text{ELBO}[q]}_{\text{amortisation}}$$

    where q* is the best member of the guide's family for each image. log p(x) is estimated by
    importance sampling from three proposals: the guide, q*, and a Normal with a full covariance
    matrix fitted to each image. Each of the three is a lower bound in expectation. For each image
    the one with the highest value minus two standard errors is used, which adds some hundredths of
    a nat. Above 1,024 latent dimensions the last proposal and the search for modes are left out.
    No draw is used for both fitting and evaluation. Draws use torch's global random generators.

    Args:
        space: the latents.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        steps: per round of refinement; the Normal has half as many, since it starts closer.
        num_samples: draws per image and proposal.
        starts: draws of the prior per image from which missed modes are searched, see
            `find_modes`; with 0 they are not.

    Returns:
        In nats per image, one row per image: `elbo`, `elbo_own_family`, `elbo_full_rank` and
        `log_evidence`, each with its standard error over draws, `_error`; `amortisation_gap`,
        `approximation_gap` and their sum, `gap`; `k_hat` and `ess` of the guide's weights, and
        those of the other proposals, such as `k_hat_own_family`. With the search also `modes`,
        `reached` and `missed_mode`: log p(x) by a proposal that has the modes found from draws of
        the prior, minus `log_evidence`, with its standard error, `missed_error`. Both are 0 if
        no other mode was found.

    Raises:
        InputError: if the guide has no density.

    References:
        Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018, section 3,
        equations 5 to 8), https://arxiv.org/abs/1801.03558; k-hat as in Yes, but Did It Work?
        (Yao et al., 2018, section 3), https://arxiv.org/abs/1802.02538
    """
    inputs = inputs or {}
    require_density(space, x, **inputs)
    guides: dict[str, nn.Module] = {"": space.programs.guide}
    notes = []
    try:
        guides["_own_family"] = refine_guide(space, x, inputs, steps=steps)
    except InputError as reason:
        notes.append(f"{str(reason)[0].upper()}{str(reason)[1:]}.")
    try:
        if space.size > MOST_DIMS:
            raise InputError(f"{space.size:,} latent dimensions are more than {MOST_DIMS:,}")
        start = guides.get("_own_family")
        guides["_full_rank"] = refine_full_rank(space, x, inputs, guide=start, steps=steps // 2)
    except InputError as reason:
        notes.append(f"No full-rank Normal was fitted: {reason}.")
    found: dict[str, pandas.DataFrame] = {}
    for name, guide in guides.items():
        log_w = many_log_weights(with_guide(space.programs, guide), num_samples, x, None, **inputs)
        error = log_w.std(0) / math.sqrt(num_samples)
        found[name] = summary(log_w).assign(elbo_error=error.numpy())
    table, fitted = _split(found), guides.get("_full_rank")
    if starts and isinstance(fitted, FullRankGuide):
        how = {"starts": starts, "num_samples": num_samples}
        table = _with_missed(table, find_modes(space, x, inputs, fitted, **how))
    return Gaps(table, notes)


def _with_missed(table: pandas.DataFrame, found: pandas.DataFrame) -> pandas.DataFrame:
    """The table with the modes that were found from draws of the prior."""
    none = found["modes"] == 0
    more = found["log_evidence"] - table["log_evidence"]
    error = (found["error"] ** 2 + table["log_evidence_error"] ** 2) ** 0.5
    both = {"missed_mode": more.mask(none, 0.0), "missed_error": error.mask(none, 0.0)}
    return table.assign(modes=found["modes"], reached=found["reached"], **both)


def _split(found: dict[str, pandas.DataFrame]) -> pandas.DataFrame:
    empty = pandas.DataFrame(index=found[""].index, columns=found[""].columns, dtype=float)
    table = pandas.DataFrame(index=found[""].index)
    every = {name: found.get(name, empty) for name in ("", "_own_family", "_full_rank")}
    for name, own in every.items():
        table[f"elbo{name}"], table[f"elbo{name}_error"] = own["elbo"], own["elbo_error"]
    joined = pandas.concat(every, axis=1).swaplevel(axis=1)
    evidence, errors = joined["log_evidence"], joined["error"]
    # All are lower bounds in expectation. An estimate from weights with a heavy tail has no
    # standard error and may be far too low: then the proposal is ranked by its ELBO.
    bounds = joined["elbo"] - 2 * joined["elbo_error"]
    sure = (evidence - 2 * errors).where(errors.notna(), bounds)
    best = sure.fillna(-math.inf).to_numpy().argmax(1)
    for name, values in (("log_evidence", evidence), ("log_evidence_error", errors)):
        table[name] = values.to_numpy()[range(len(values)), best]
    table["gap"] = table["log_evidence"] - table["elbo"]
    table["amortisation_gap"] = table["elbo_own_family"] - table["elbo"]
    table["approximation_gap"] = table["log_evidence"] - table["elbo_own_family"]
    for name, own in every.items():
        table[f"k_hat{name}"], table[f"ess{name}"] = own["k_hat"], own["ess"]
    return table
