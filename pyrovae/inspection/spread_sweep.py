"""The ELBO for a rescaled spread of the guide: shows whether it is too wide or too narrow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.data import Split
from pyrovae.distributions.moments import moments
from pyrovae.engine import Engine
from pyrovae.evaluation.estimates import Estimate
from pyrovae.inspection.real import require_density, require_real
from pyrovae.posterior.passes import each_batch
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.randomness import private_randomness

__all__ = ["sweep_spread"]

#: Factors of the spread: powers of the fourth root of 2, and values close to 1.
FACTORS = (0.5, 2**-0.5, 2**-0.25, 0.95, 1.0, 1.05, 2**0.25, 2**0.5, 2.0)

#: The least error of a weight: a slope of sums in single precision is not exactly 0.
ROUNDING = 1e-6
#: The largest factor that is tried if the best one is not within `FACTORS`.
WIDEST = 1024.0


@dataclass(frozen=True)
class Spread:
    """The guide's spread compared with the optimal one.

    Attributes:
        factor: the factor of the guide's standard deviations with the highest ELBO. If
            `factor_error` is NaN, it is the first or last factor that was tried, and the optimum
            lies beyond it.
        factor_error: its standard error; NaN at an end of the factors that were tried.
        gain: the gain of the ELBO by that factor, in nats per image.
        effective_beta: the weight on the rate for which the guide's spread is optimal: 1 for the
            ELBO; above 1 the guide is too wide, below 1 too narrow.
        error: its standard error. If it is as large as the value, the weight is unknown, as
            after posterior collapse.
    """

    factor: float
    factor_error: float
    gain: float
    effective_beta: float
    error: float


def sweep_spread(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    engine: Engine | None = None,
    *,
    seed: int = 0,
    factors: Sequence[float] = FACTORS,
    num_draws: int = 1,
    widest: float = WIDEST,
) -> tuple[pandas.DataFrame, Spread]:
    r"""The ELBO of the guide with its spread multiplied by c, for several c.

    $$\text{ELBO}(c) = \mathbb{E}_{q(z \mid x)}\left[\log p(x, z_c) - \log q(z \mid x)\right]
    + D \log c, \quad z_c = m + c\,(z - m)$$

    All factors share their noise. With several sites, those that the guide draws later follow the
    scaled draws of the earlier ones. The optimal factor is the maximum of a curve
    $k - a c^2 + b \log c$ through the best factor tried and its two neighbours, which is exact
    for Normal guides and posteriors. A guide that was trained with a weight on its rate has a
    spread that is optimal for that weight. So the spread determines the weight:

    $$\beta = \left.\frac{\partial_c\, \text{distortion}(c)}{- \partial_c\, \text{rate}(c)}
    \right|_{c = 1},$$

    with slopes of parabolas through 1 and its two neighbours. Collapsed latent dimensions do not
    contribute to either slope.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or its uint8 images `(N, C, H, W)`; some 200 are enough.
        engine: where to compute; by default the CPU.
        seed: seed of the draws.
        factors: positive, in rising order: 1 and others on both sides. For an exact weight the
            neighbours of 1 must be close to it; (0.95, 1, 1.05) is enough for the weight alone.
        num_draws: draws per image.
        widest: while the best factor is the first or the last one, half or twice that factor is
            added, down to `1 / widest` and up to `widest`; 1 adds none.

    Returns:
        One row per factor, including those added: `elbo`, its standard `error` over images,
        `rate`, `distortion`, and the `gain` over factor 1 with its `gain_error`, in nats per
        image; and the summary.

    Raises:
        InputError: if there are fewer than 2 images, the factors are not allowed, the support of
            latents is not R^D, or the guide has no density.

    References:
        beta as in beta-VAE (Higgins et al., 2017, equation 4),
        https://openreview.net/forum?id=Sy2fzU9gl
    """
    tried = _checked(factors)
    if len(images) < 2:
        raise InputError(f"the spread of the guide needs at least 2 images, got {len(images)}")

    def measured(some: list[float]) -> np.ndarray:
        """Rates and distortions `(2, F, N)`, with the same draws for all factors."""
        compute = partial(_terms, programs, some, num_draws)
        parts = each_batch(programs, images, engine or Engine("cpu", "fp32"), compute, seed=seed)
        return torch.cat([part.double().cpu() for part in parts], -1).numpy()

    found = measured(tried)
    while beyond := _beyond(tried, found, widest):
        tried, found = tried + beyond, np.concatenate([found, measured(beyond)], 1)
        order = np.argsort(tried)
        tried, found = [tried[place] for place in order], found[:, order]
    groups = images.groups if isinstance(images, Split) else None
    rates, distortions = found
    table = _table(tried, rates, distortions, groups)
    return table, _summary(np.array(tried), rates, distortions, groups)


def _beyond(tried: list[float], found: np.ndarray, widest: float) -> list[float]:
    """The next factor to try if the best one is at an end, else nothing."""
    top = _top(-found.sum(0))
    if top == 0 and tried[0] / 2 >= 1 / widest:
        return [tried[0] / 2]
    return [tried[-1] * 2] if top == len(tried) - 1 and tried[-1] * 2 <= widest else []


def _top(elbos: np.ndarray) -> int:
    """The index of the factor with the highest mean ELBO, from ELBOs `(F, N)`."""
    return int(np.nanargmax(elbos.mean(1)))


def _checked(factors: Sequence[float]) -> list[float]:
    tried = [float(c) for c in factors]
    rising = all(a < b for a, b in zip(tried, tried[1:], strict=False))
    if not (rising and 1.0 in tried[1:-1] and tried[0] > 0 and math.isfinite(tried[-1])):
        raise InputError(
            f"factors {tried}: allowed are positive rising numbers, 1 and others on both sides"
        )
    return tried


def _terms(
    programs: ModelGuidePair, factors: list[float], num_draws: int, x: Tensor, **inputs: Tensor
) -> Tensor:
    """Rate and distortion of each image at each factor, `(2, F, B)`."""
    first = {name: value[:1] for name, value in inputs.items()}
    space = LatentSpace.of(programs, x[:1], **first)
    require_real(space, x[:1], **first)
    require_density(space, x[:1], **first)
    found, seed = [], int(torch.randint(2**31, ()))
    for c in factors:
        # The guide runs for each factor: its later sites follow the scaled draws of earlier ones.
        with private_randomness(seed, x.device), _Scaled(space, c) as scaled:
            trace = space.guide_trace(num_draws, x, **inputs)
        z = space.flatten({name: trace.nodes[name]["value"] for name in space.shapes})
        prior, fit = space.log_joint(z, x, **inputs)
        found.append(torch.stack([(scaled.log_q - prior).mean(0), -fit.mean(0)]))
    return torch.stack(found, 1)


class _Scaled(Messenger):
    """Multiplies the deviations of the guide's draws from their means by a factor.

    Args:
        space: the latent sites.
        factor: the factor c.

    Attributes:
        log_q: the log density of the scaled draws, summed over the sites.
    """

    def __init__(self, space: LatentSpace, factor: float) -> None:
        super().__init__()
        self.sites, self.factor = space.shapes, factor
        self.log_q: Any = 0.0

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] not in self.sites:
            return
        value, size = msg["value"], self.sites[msg["name"]].numel()
        centre = moments(msg["fn"])[0].expand_as(value)
        self.log_q = self.log_q + msg["fn"].log_prob(value) - size * math.log(self.factor)
        msg["value"] = centre + self.factor * (value - centre)


def _table(
    factors: list[float], rates: np.ndarray, distortions: np.ndarray, groups: np.ndarray | None
) -> pandas.DataFrame:
    elbos, one = -rates - distortions, factors.index(1.0)
    rows = []
    for elbo, rate, distortion in zip(elbos, rates, distortions, strict=True):
        whole, gain = Estimate.of(elbo, groups), Estimate.of(elbo - elbos[one], groups)
        middle = (rate.mean(), distortion.mean())
        rows.append((whole.value, whole.error, *middle, gain.value, gain.error))
    columns = ["elbo", "error", "rate", "distortion", "gain", "gain_error"]
    return pandas.DataFrame(rows, pandas.Index(factors, name="factor"), columns)


def _summary(
    factors: np.ndarray, rates: np.ndarray, distortions: np.ndarray, groups: np.ndarray | None
) -> Spread:
    one = int(np.flatnonzero(factors == 1.0)[0])
    near = slice(one - 1, one + 2)
    slope = np.linalg.inv(np.vander(factors[near], 3))  # of the parabola: 2 a c + b, at c = 1
    rise = (2 * slope[0] + slope[1]) @ distortions[near]
    fall = -(2 * slope[0] + slope[1]) @ rates[near]
    beta = rise.mean() / fall.mean()
    error = Estimate.of((rise - beta * fall) / fall.mean(), groups).error
    error = max(error, ROUNDING) if error else math.nan
    best, best_error, gain = _best(factors, -rates - distortions, groups)
    return Spread(best, best_error, gain, float(beta), float(error))


def _best(
    factors: np.ndarray, elbos: np.ndarray, groups: np.ndarray | None
) -> tuple[float, float, float]:
    """The optimal factor, its standard error, and the gain over factor 1."""
    means, one = elbos.mean(1), int(np.flatnonzero(factors == 1.0)[0])
    top = _top(elbos)
    if top in (0, len(factors) - 1):
        return float(factors[top]), math.nan, float(means[top] - means[one])
    near = factors[top - 1 : top + 2]
    curve = np.linalg.inv(np.stack([np.ones(3), -(near**2), np.log(near)], 1))
    k, a, b = curve @ elbos[top - 1 : top + 2]
    squared = b.mean() / (2 * a.mean())
    best = math.sqrt(squared)
    error = Estimate.of(best / 2 * (b / b.mean() - a / a.mean()), groups).error
    height = k.mean() - a.mean() * squared + b.mean() * math.log(best)
    return best, float(error or math.nan), float(height - means[one])
