"""Posterior predictive checks: ranks of pixels, and statistics of images and replicates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.pairs import chunks
from pyrovae.inspection.aggregate import kolmogorov_smirnov
from pyrovae.inspection.judge.limits import SURE
from pyrovae.inspection.scales import scale_of
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.passes import each_batch
from pyrovae.programs.pair import ModelGuidePair, run_both
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["pixel_calibration", "predictive_checks", "replicate"]

#: Replicates per image.
REPLICATES = 39
#: Bins of the histogram of ranks, with equally many ranks each.
BINS = 20
#: Images whose replicates are drawn at once, and latents decoded at once.
AT_ONCE = 50


#: The parts of the ranks that give their histogram its shape, as bins.
REGIONS = {"ends": (0, 19), "shoulders": (1, 2, 3, 16, 17, 18), "middle": (8, 9, 10, 11)}
#: Largest number of polynomials of the test of uniformity.
POLYNOMIALS = 8


def _contrast(x: Tensor) -> Tensor:
    """The standard deviation over pixels; many times faster than `Tensor.std`."""
    pixels = x.flatten(1)
    centred = pixels - pixels.mean(1, keepdim=True)
    return torch.linalg.vector_norm(centred, dim=1) / math.sqrt(pixels.shape[1] - 1)


def _extremes(low: float, high: float) -> Callable[[Tensor], Tensor]:
    margin = 0.02 * (high - low)

    def of(x: Tensor) -> Tensor:
        outside = (x < low + margin) | (x > high - margin)
        return outside.flatten(1).count_nonzero(1).to(x) / x[0].numel()

    return of


def _sharpness(x: Tensor) -> Tensor:
    across, down = (x.diff(dim=dim).abs().mean((1, 2, 3)) for dim in (-1, -2))
    return (across + down) / 2


#: Statistics `(B,)` of images `(B, C, H, W)`: the mean pixel, the standard deviation over pixels,
#: the mean absolute difference of neighbours, the share of pixels near or beyond 0 and 1, or the
#: ends of the likelihood's own scale.
Statistics = Mapping[str, Callable[[Tensor], Tensor]]
STATISTICS: Statistics = {
    "brightness": lambda x: x.mean((1, 2, 3)),
    "contrast": _contrast,
    "sharpness": _sharpness,
    "extremes": _extremes(0, 1),
}


def own_statistics(
    programs: ModelGuidePair, images: Split | np.ndarray, *, seed: int = 0
) -> Statistics:
    """`STATISTICS` on the scale of the likelihood's x, see `scale_of`.

    Args:
        programs: the pair of programs.
        images: a split, or uint8 images `(N, C, H, W)`.
        seed: seed of the noise of the observations.
    """
    pixels = images.images if isinstance(images, Split) else images
    ends = scale_of(programs.likelihood, pixels, seed=seed)
    return {**STATISTICS, "extremes": _extremes(*ends)}


@dataclass(frozen=True)
class Replication:
    """Comparisons of images with replicates drawn from the posterior predictive.

    Attributes:
        statistics: one row per image and statistic: the `observed` value, the mean `replicated`
            value, and the `p_value`, the probability that a replicate's value is at least as
            large.
        shares: the share of each image's pixels in each bin of ranks, `(N, BINS)`.
        moments: mean and mean square distance from 1/2 of the ranks of an image's pixels,
            `(N, 2)`.
    """

    statistics: pandas.DataFrame
    shares: np.ndarray
    moments: np.ndarray

    @property
    def heights(self) -> dict[str, np.ndarray]:
        """The height of each region of the histogram relative to a flat one, `(N,)` each."""
        return {name: self.shares[:, bins].mean(1) * BINS for name, bins in REGIONS.items()}


def replicate(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    engine: Engine,
    *,
    statistics: Statistics | None = None,
    draws: int = REPLICATES,
    seed: int = 0,
) -> Replication:
    r"""Compares each image with replicates, which include the likelihood's noise.

    $$z_n \sim q(z \mid x_n), \quad x^{(s)}_n \sim p(x \mid z_n)$$

    All replicates of an image share one draw of z. If the posterior is exact and the model is
    true, image and replicates are exchangeable: the rank of the image among its replicates is
    uniform, for any statistic and any pixel. With one z per replicate it would not be uniform:
    the posterior depends on the image, so its rank would be in the middle too often.

    Ranks are made continuous by random numbers, also among ties, so that discrete likelihoods can
    be compared with continuous ones.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or uint8 images `(N, C, H, W)` if the programs need no attributes.
        engine: where to compute.
        statistics: functions of observations `(B, C, H, W)` that return `(B,)`, by name; by
            default `STATISTICS` on the scale of the likelihood's x.
        draws: replicates of each image, S.
        seed: seed of the draws.

    Raises:
        InputError: if `draws` is not positive.

    References:
        Sampled posterior p-values: A New Calibrated Bayesian Internal Goodness-of-Fit Method
        (Gosselin, 2011), https://doi.org/10.1371/journal.pone.0014770
    """
    if draws < 1:
        raise InputError(f"draws {draws}: allowed is 1 or more")
    own = statistics or own_statistics(programs, images, seed=seed)

    def compute(x: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, model = run_both(programs.model, programs.guide, x, **inputs)
        node = model.nodes["x"]
        return _compared(node["fn"], node["value"], own, draws)

    found = each_batch(programs, images, engine, compute, seed=seed, batch_size=AT_ONCE)
    parts = zip(*found, strict=True)
    rows, shares, moments = (torch.cat(part).cpu().double().numpy() for part in parts)
    names = images.names if isinstance(images, Split) else range(len(images))
    index = pandas.MultiIndex.from_product([names, own], names=["image", "statistic"])
    columns = ["observed", "replicated", "p_value"]
    return Replication(pandas.DataFrame(rows.reshape(-1, 3), index, columns), shares, moments)


def _compared(
    p: Any, x: Tensor, statistics: Statistics, draws: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The statistics `(B, T, 3)`, `shares` and `moments` of the `Replication` of a batch."""
    if x.isnan().any():
        raise InputError("statistics of images need whole images, and pixels are missing")
    observed = torch.stack([of(x) for of in statistics.values()], -1)
    less = equal = total = torch.zeros_like(observed)
    pixels_less, pixels_equal = torch.zeros_like(x), torch.zeros_like(x)
    ties = _may_tie(p)
    for _ in range(draws):
        again = p.sample()
        pixels_less += again < x
        if ties:
            pixels_equal += again == x
        values = torch.stack([of(again) for of in statistics.values()], -1)
        less, equal = less + (values < observed), equal + (values == observed)
        total = total + values
    below = _continuous(less, equal, draws)
    u = _continuous(pixels_less, pixels_equal, draws).flatten(1)
    bins = (u * BINS).long().clamp(max=BINS - 1)
    shares = torch.stack([(bins == place).to(u).mean(1) for place in range(BINS)], -1)
    moments = torch.stack([u.mean(1), (u - 0.5).square().mean(1)], -1)
    return torch.stack([observed, total / draws, 1 - below], -1), shares, moments


def _may_tie(p: Any) -> bool:
    """Whether draws may be equal to an observation."""
    try:
        return bool(p.support.is_discrete)
    except (NotImplementedError, AttributeError):
        return True


def _continuous(less: Tensor, equal: Tensor, draws: int) -> Tensor:
    """Ranks in [0, 1], uniform if a value and the draws are exchangeable."""
    return (less + torch.rand_like(less) * (equal + 1)) / (draws + 1)


def pixel_calibration(found: Replication) -> pandas.DataFrame:
    r"""The histogram of the ranks of pixels: flat if the likelihood is calibrated.

    $$u_i = F_i(x_i), \quad F_i \text{ the predictive distribution function of pixel } i$$

    A U shape means that the likelihood is too narrow, a hump that it is too wide. A rising slope
    means that pixels are brighter than predicted, a falling one that they are darker.

    Args:
        found: from `replicate`.

    Returns:
        One row per bin of the ranks, `low` to `high`: the `share` of pixels, its standard `error`
        over images, and the `expected` share.

    References:
        Probabilistic Forecasts, Calibration and Sharpness (Gneiting et al., 2007, section 3.1),
        https://doi.org/10.1111/j.1467-9868.2007.00587.x
    """
    edges = np.linspace(0, 1, BINS + 1)
    estimates = [Estimate.of(column) for column in found.shares.T]
    columns = {
        "low": edges[:-1],
        "high": edges[1:],
        "share": [own.value for own in estimates],
        "error": [own.error for own in estimates],
        "expected": 1 / BINS,
    }
    return pandas.DataFrame(columns).rename_axis("bin")


def rank_moments(found: Replication) -> dict[str, Estimate]:
    """Summaries of the ranks of pixels, with standard errors over images.

    Args:
        found: from `replicate`.

    Returns:
        `mean`: 0.5 if pixels are as bright as predicted. `spread`: twelve times the mean square
        distance from 1/2; 1 if the likelihood is calibrated, above 1 if it is too narrow, below
        1 if it is too wide. `ends`, `shoulders`, `middle`: the height of the histogram relative
        to a flat one, in the outer tenth of the ranks, in the next three tenths, and in the
        middle fifth.
    """
    mean, square = found.moments.T
    columns = {"mean": mean, "spread": 12 * square, **found.heights}
    return {name: Estimate.of(column) for name, column in columns.items()}


def rank_shape(found: Replication) -> tuple[int, int]:
    """The shape of the histogram of ranks: its middle and its ends against its shoulders.

    Args:
        found: from `replicate`.

    Returns:
        1 where the middle, and where the ends, are higher than the shoulders, -1 where lower, 0
        where they differ by less than 5% of a flat histogram or less than 3.3 standard errors:
        `(1, 1)` is a W, `(-1, 1)` a U, `(1, -1)` a hump.
    """
    heights, signs = found.heights, []
    for name in ("middle", "ends"):
        own = Estimate.of(heights[name] - heights["shoulders"])
        clear = abs(own.value) > max(0.05, SURE * (own.error or 0.0))
        signs.append(int(math.copysign(clear, own.value)))
    return signs[0], signs[1]


def uniformity(found: Replication) -> float:
    r"""The p-value of a test that the ranks of pixels are uniform.

    $$T^2 = N\, \bar c^\top S^{-1} \bar c, \quad c_{nk} = \sum_b h_{nb}\, \pi_k(b)$$

    for the histogram h of image n and polynomials of degree 1 to K over its bins, orthogonal to a
    flat histogram (Neyman's smooth test). The images give the covariance S, since the pixels of
    an image depend on each other (Hotelling's test). K is 8, or a fifth of the images if these
    are fewer than 40.

    Args:
        found: from `replicate`.

    Returns:
        The p-value; NaN for fewer than five images.

    References:
        Smooth test for goodness of fit (Neyman, 1937); The generalization of Student's ratio
        (Hotelling, 1931), https://doi.org/10.1214/aoms/1177732979
    """
    from scipy.special import fdtrc

    count, degrees = len(found.shares), min(POLYNOMIALS, len(found.shares) // 5)
    if not degrees:
        return math.nan
    powers = np.vander(np.linspace(-1, 1, BINS), degrees + 1, increasing=True)
    values = found.shares @ np.linalg.qr(powers)[0][:, 1:]
    mean, covariance = values.mean(0), np.atleast_2d(np.cov(values.T))
    score = count * mean @ np.linalg.pinv(covariance, hermitian=True) @ mean
    ratio = score * (count - degrees) / degrees / (count - 1)
    return float(fdtrc(degrees, count - degrees, ratio))


def predictive_checks(
    found: Replication, prior: pandas.DataFrame | None = None
) -> pandas.DataFrame:
    r"""Compares statistics of images with those of replicates, and of draws from the prior.

    $$p_n = P(T(x^{(s)}_n) \ge T(x_n))$$

    If model and posterior are right, $p_n$ is uniform over images, with mean 1/2. `p_value` is
    that of a two-sided test of this mean. In large samples small deviations are significant, so
    `difference` is their size in standard deviations of the statistic over images.

    Args:
        found: from `replicate`.
        prior: from `prior_statistics`, to compare with draws from the prior as well.

    Returns:
        One row per statistic: the means `observed` and `replicated`, their `difference`,
        `mean_p`, its `p_value`, and the share of images `outside` the central 95% of their
        replicates (0.05 is expected); with `prior` also its mean `drawn`, the Kolmogorov-Smirnov
        distance `drawn_distance` of images and drawn images, and its p-value `drawn_p_value`.

    Raises:
        InputError: if there are fewer than two images.

    References:
        Posterior Predictive Assessment of Model Fitness via Realized Discrepancies (Gelman et
        al., 1996, section 2)
    """
    rows = {}
    for name, own in found.statistics.groupby("statistic", sort=False):
        if len(own) < 2:
            raise InputError(f"predictive checks need at least 2 images, got {len(own)}")
        gap, spread = own.observed.mean() - own.replicated.mean(), own.observed.std()
        z = (own.p_value.mean() - 0.5) * math.sqrt(12 * len(own))
        rows[name] = {
            "observed": own.observed.mean(),
            "replicated": own.replicated.mean(),
            "difference": -gap / spread if spread > 0 else -gap,
            "mean_p": own.p_value.mean(),
            "p_value": math.erfc(abs(z) / math.sqrt(2)),
            "outside": ((own.p_value - 0.5).abs() > 0.475).mean(),
        }
        if prior is not None:
            distance, p_value = kolmogorov_smirnov(own[["observed"]], prior[[name]])
            drawn = {"drawn": prior[name].mean(), "drawn_distance": distance[0]}
            rows[name] |= {**drawn, "drawn_p_value": p_value[0]}
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("statistic")


def prior_statistics(
    subject: Subject, count: int, statistics: Statistics | None = None
) -> pandas.DataFrame:
    """Statistics of images drawn from the model, with the likelihood's noise: one row per image.

    Args:
        subject: what is inspected.
        count: the number of images.
        statistics: as for `replicate`.
    """
    z, inputs = subject.prior_draws(count)
    named = statistics or own_statistics(subject.programs, subject.split.spread(count))
    rows = []
    with subject.quietly(1):
        for part in chunks(count, AT_ONCE):
            own = {name: value[part] for name, value in inputs.items()}
            x = subject.space.decode(z[part], **own).sample()
            rows.append(torch.stack([of(x) for of in named.values()], -1))
    return pandas.DataFrame(torch.cat(rows).cpu().double().numpy(), columns=list(named))
