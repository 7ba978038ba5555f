"""The latents: active units, rates, the guide's spread, a better prior, ignored dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from pyrovae.evaluation.estimates import Estimate
from pyrovae.inspection.collapse import dimension_table, dimensions_for
from pyrovae.inspection.judge.limits import EMPTY, WEAK
from pyrovae.inspection.spread_sweep import Spread
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.encoding import Encoding
from pyrovae.posterior.view import PosteriorView
from pyrovae.utils.errors import InputError

__all__ = ["measure", "of_encoding", "of_spread"]

#: Images, and dimensions with the largest rate, whose draws are exchanged to see whether the
#: decoder uses them; latents per call of the decoder.
EXCHANGED, LARGEST, AT_ONCE = 32, 128, 256
#: The decoder ignores a dimension if the draws of other images cost less than this share of its
#: rate. The draws of other images cost a used dimension more than its whole rate.
UNUSED = 0.1
#: Components of the mixture that is fitted to the encodings, and the least number of encodings.
COMPONENTS, LEAST = 10, 100


def measure(subject: Subject) -> dict[str, Any]:
    """Fields of `Evidence` on the latents."""
    found = of_encoding(subject.encoded)
    with suppress(InputError, NotImplementedError):  # Latents on a sphere have no spread to scale.
        found |= of_spread(subject.encoded, subject.swept[1])
    with suppress(InputError, NotImplementedError):
        found |= _ignored(subject)
    return found | _better_prior(subject.independent.encoded, subject.seed)


def of_encoding(encoded: Encoding) -> dict[str, Any]:
    """Fields of `Evidence` on the dimensions and the rate.

    Args:
        encoded: the posteriors of two images or more.
    """
    table = dimension_table(encoded.continuous())
    empty = [name for name, rate in encoded.site_rates.items() if rate.mean() < EMPTY]
    silent = sum(name.rpartition("[")[0] in empty for name in table.index)
    return {
        "silent": float(silent) if encoded.site_rates else math.nan,
        "dims": len(table),
        "active": int(table["active"].sum()),
        "carriers": dimensions_for(table),
        "rate": float(encoded.rate.mean()),
        "weakest": float(table["kl"].min()),
    }


def of_spread(encoded: Encoding, found: Spread) -> dict[str, float]:
    """Fields of `Evidence` on the guide's spread; none if both slopes are noise.

    Args:
        encoded: the posteriors; with a rate near 0 nothing is known of the weight.
        found: from `sweep_spread`.
    """
    weight, error = found.effective_beta, found.error
    sure = 2 * error < max(weight, 0.5) and weight > -2 * error
    if not (sure and encoded.continuous().active.any()):
        return {}
    return {"weight": weight, "weight_error": error, "spread_gain": found.gain}


def _better_prior(encoded: Encoding, seed: int) -> dict[str, float]:
    """The mean log density of a mixture fitted to half of the encodings, minus that of the prior.

    The mean is over the other half. It is a lower bound of the gain of the ELBO by the best
    prior, KL(q(z), p(z)). Unknown if a site is discrete: the mixture has a density.
    """
    from sklearn.mixture import GaussianMixture

    z, log_p = encoded.draws.astype(float), encoded.log_p
    if len(z) < LEAST or not np.isfinite(log_p).all() or encoded.discrete.any():
        return {}
    fitted, others = z[::2], z[1::2]
    gains = []
    for kind, count in (("full", 1), ("diag", COMPONENTS)):
        if kind == "full" and len(fitted) < 4 * z.shape[1]:
            continue
        mixture = GaussianMixture(count, covariance_type=kind, reg_covar=1e-4, random_state=seed)
        gains.append(Estimate.of(mixture.fit(fitted).score_samples(others) - log_p[1::2]))
    best = max(gains, key=lambda gain: gain.value)
    return {"prior_gain": best.value, "prior_gain_error": best.error or math.nan}


def _ignored(subject: Subject) -> dict[str, Any]:
    """The rate of the dimensions whose draws make no difference to the decoder."""
    some = subject.of(subject.split.spread(EXCHANGED))
    rates = subject.encoded.kl.mean(0)
    largest = np.argsort(-rates, kind="stable")[:LARGEST]
    carrying = [int(place) for place in largest if rates[place] > WEAK]
    if len(some.split) < 2 or not carrying:
        return {"ignored": 0.0, "num_ignored": 0}
    costs = np.fromiter(_exchange_costs(some, carrying), float)
    unused = costs < UNUSED * rates[carrying]
    return {"ignored": float(rates[carrying][unused].sum()), "num_ignored": int(unused.sum())}


def _exchange_costs(view: PosteriorView, dimensions: list[int]) -> Iterator[float]:
    """The loss of log p(x given z) if images get each other's draws of one dimension."""
    x, inputs = view.observed(view.split)
    with view.quietly(2):
        z = view.space.guide_draws(1, x, **inputs)
        usual = view.space.log_joint(z, x, **inputs)[1]
        each = max(1, AT_ONCE // len(x))
        for start in range(0, len(dimensions), each):
            some = dimensions[start : start + each]
            moved = z.repeat(len(some), 1, 1)
            for place, dimension in enumerate(some):
                moved[place, :, dimension] = moved[place, :, dimension].roll(1)
            loss = usual - view.space.log_joint(moved, x, **inputs)[1]
            yield from torch.nan_to_num(loss.mean(1), nan=math.inf).tolist()
