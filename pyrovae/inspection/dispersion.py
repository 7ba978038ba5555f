"""The size of residuals against the likelihood's noise: of all pixels, and pixel by pixel."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.information import ratio_values
from pyrovae.posterior.passes import each_batch
from pyrovae.programs.pair import ModelGuidePair, run_both

__all__ = ["SCORED", "BestScale", "best_scale", "dispersion", "noise_size", "pixel_gain"]

#: Draws that estimate the moments of a likelihood without a formula for them.
DRAWS = 20
#: Scales that are tried between that of the likelihood and that of the residuals.
TRIED = 4
#: About how many images the gain of a scale per pixel is measured on.
SCORED = 200
#: Least number of images that the scales of pixels are fitted to.
FITTED = 20


def dispersion(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> Estimate:
    r"""The sum of squared residuals over the sum of the variances that the likelihood expects.

    $$\frac{\sum_{n, i} (x_{ni} - \mathbb{E}[x_i \mid z_n])^2}
    {\sum_{n, i} \operatorname{Var}[x_i \mid z_n]}, \quad z_n \sim q(z \mid x_n)$$

    over images n and pixels i. It is 1 if the likelihood's noise is right: an image and a draw
    from its exact posterior are a joint draw from the model, so the expected squared residual is
    the variance. Above 1 the likelihood is too narrow, and the rate is too high; below 1 it is
    too wide, and treats detail as noise. It uses one draw of z per image: with the mean over
    several draws the ratio would be below 1 even for the true model.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or uint8 images `(N, C, H, W)` if the programs need no attributes.
        engine: where to compute.
        seed: seed of the draws.

    Returns:
        The ratio, with a standard error over images by the delta method. Draws estimate the
        moments of a likelihood without a formula for them, without bias in either sum.

    Example:
        >>> from pyrovae import DiagonalNormal, MLPDecoder, MLPEncoder, Normal, StandardNormal, VAE
        >>> vae = VAE(
        ...     encoder=MLPEncoder((1, 8, 8), num_outputs=4),
        ...     decoder=MLPDecoder((1, 8, 8), latent_dim=2, num_maps=1),
        ...     prior=StandardNormal(2), likelihood=Normal(0.01), posterior=DiagonalNormal(2),
        ... )
        >>> noise = np.random.default_rng(0).integers(0, 256, (10, 1, 8, 8), dtype=np.uint8)
        >>> dispersion(vae, noise, Engine("cpu", "fp32")).value > 100  # the noise is not 0.01
        True
    """
    return noise_size(programs, images, engine, seed=seed, step=0)[0]


def noise_size(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    engine: Engine,
    *,
    seed: int = 0,
    step: int = 1,
) -> tuple[Estimate, Estimate | None]:
    """The `dispersion` of images and the `pixel_gain` of every `step`-th image, in one pass.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or uint8 images `(N, C, H, W)` if the programs need no attributes.
        engine: where to compute.
        seed: seed of the draws.
        step: 0 for no `pixel_gain`.
    """
    scaled = step > 0 and programs.likelihood.has_scale

    def compute(x: Tensor, **inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        _, model = run_both(programs.model, programs.guide, x, **inputs)
        p, value = model.nodes["x"]["fn"], model.nodes["x"]["value"]
        own = _standardised(p, value, step) if scaled else None
        return torch.stack(_squares(p, value), -1), own

    both = list(each_batch(programs, images, engine, compute, seed=seed))
    sums = torch.cat([own for own, _ in both]).cpu().double().numpy()
    squares, variances = sums.T[:, :, None]
    kept = [own for _, own in both if own is not None]
    gain = _gain(*map(torch.cat, zip(*kept, strict=True))) if kept else None
    groups = images.groups if isinstance(images, Split) else None
    return Estimate.of(ratio_values(squares, variances)[:, 0], groups), gain


def _standardised(p: Any, x: Tensor, step: int) -> tuple[Tensor, Tensor] | None:
    """Squared residuals over their variance, `(*, pixels)`, and log p(x | z) of them, `(*,)`.

    None without moments or a density, and where pixels are missing.
    """
    try:
        if p.support.is_discrete or x.isnan().any():
            return None
        squares = ((x - p.mean).square() / p.variance).flatten(1)
        volume = p.variance.expand_as(x).log().flatten(1).sum(1) / 2
        return squares[::step].float().cpu(), (p.log_prob(x) + volume)[::step].double().cpu()
    except (NotImplementedError, AttributeError):
        return None


def _squares(p: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Squared residuals and variances of images, each summed over seen pixels, `(B,)`."""
    mean, variance, noise = mean_and_variance(p)
    squares = (x - mean).square() - noise
    variance = torch.where(x.isnan(), 0.0, variance)  # Missing pixels have no residual.
    return squares.flatten(1).nansum(1), variance.flatten(1).sum(1)


def mean_and_variance(p: Any) -> tuple[Tensor, Tensor, Tensor | float]:
    """Mean and variance of a likelihood, and the variance of that mean if draws estimate it."""
    try:
        return p.mean, p.variance, 0.0
    except (NotImplementedError, AttributeError):
        draws = p.sample((DRAWS,))
        variance = draws.var(0)
        return draws.mean(0), variance, variance / DRAWS


def pixel_gain(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> Estimate | None:
    r"""The gain in nats per image if each pixel position had its own scale of the noise.

    $$\sum_i \tfrac{1}{2} \left(\log \frac{\bar v}{v_i} + \frac{e_{ni}^2}{\bar v}
    - \frac{e_{ni}^2}{v_i}\right), \quad e_{ni} = \frac{x_{ni} - \mathbb{E}[x_i \mid z_n]}
    {\operatorname{Sd}[x_i \mid z_n]}, \quad z_n \sim q(z \mid x_n)$$

    It is the log density of residuals under Normals with a scale per position, minus that with
    one scale. Half of the images give the scales v, the other half is scored, then the other way
    round. The loss from fitting v to few images is added: it is known for Normal residuals. For
    heavier tails the gain is too low. If the likelihood fits better than Normals with one scale,
    that difference is subtracted: the result is the gain over the likelihood.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or uint8 images `(N, C, H, W)` if the programs need no attributes.
        engine: where to compute.
        seed: seed of the draws.

    Returns:
        The mean gain with its standard error over images; None if the likelihood has no scale,
        no moments or a discrete support, pixels are missing, or there are fewer than 40 images.
    """
    return noise_size(programs, images, engine, seed=seed)[1]


def _gain(squares: Tensor, log_probs: Tensor) -> Estimate | None:
    """The gain of a scale per pixel, from squared residuals `(N, pixels)` and log p `(N,)`."""
    halves = squares[::2], squares[1::2]
    if len(squares) < 2 * FITTED:
        return None
    shared = squares.double().mean()
    normal = -((2 * math.pi * shared).log() + squares.double() / shared).sum(1) / 2
    gains = torch.cat([_gains(*halves), _gains(*halves[::-1])])
    better = log_probs - normal
    if better.mean() > 0:
        gains = gains - torch.cat([better[1::2], better[::2]])  # In the same order.
    if not gains.isfinite().all():
        return None
    found = Estimate.of(gains)  # Both halves share the errors of their scales.
    return Estimate(found.value, (found.error or 0.0) * math.sqrt(2))


class BestScale(NamedTuple):
    """Another scale of the noise.

    Attributes:
        factor: of the scale; 1 if none that was tried is better.
        gain: in nats per image, at least 0. Both are NaN where they are unknown.
    """

    factor: float
    gain: float


def best_scale(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    engine: Engine,
    ratio: float,
    *,
    seed: int = 0,
) -> BestScale:
    r"""The factor c by which all noise should be wider or narrower, and the gain.

    $$\max_c\; \mathbb{E}\left[\log p\left(m + \tfrac{x - m}{c} \mid z\right) - n \log c -
    \log p(x \mid z)\right], \quad m = \mathbb{E}[x \mid z]$$

    for n pixels. The factors lie between 1 and the square root of `ratio`, which is the best one
    for Normal noise. The shape of the noise stays the same, so the gain is right for heavy
    tails too, where squared residuals exceed the variance although the scale is right.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or uint8 images `(N, C, H, W)` if the programs need no attributes.
        engine: where to compute.
        ratio: the `dispersion` of these images, above 0 and finite.
        seed: seed of the draws, as for `dispersion`.

    Returns:
        The factor and the gain; NaN for a probability of grey values with a ratio below 1, since
        narrowing could give probabilities above 1, and where a value leaves the support. Grey
        values 0 and 255 hold the tails and are not rescaled: the gain is too low where many
        pixels have them.
    """
    if programs.likelihood.grey_levels == 1 and ratio < 1:
        return BestScale(math.nan, math.nan)
    factors = [ratio ** (k / (2 * TRIED)) for k in range(1, TRIED + 1)]

    def compute(x: Tensor, **inputs: Tensor) -> Tensor:
        node = run_both(programs.model, programs.guide, x, **inputs)[1].nodes["x"]
        p, value = node["fn"], node["value"]
        off, own = value - mean_and_variance(p)[0], p.log_prob(value)
        free = value.isnan().logical_not()
        if programs.likelihood.grey_levels == 1:  # The first and the last value hold the tails.
            free &= (value > 0) & (value < 1)
        off, seen = off * free, free.flatten(1).sum(1)
        scaled = [p.log_prob(value - off * (1 - 1 / c)) - seen * math.log(c) for c in factors]
        return torch.stack(scaled) - own

    found = torch.cat(list(each_batch(programs, images, engine, compute, seed=seed)), 1)
    gains = found.double().mean(1)
    if not gains.isfinite().all():
        return BestScale(math.nan, math.nan)
    gain, factor = max(zip(gains.tolist(), factors, strict=True))
    return BestScale(factor, gain) if gain > 0 else BestScale(1.0, 0.0)


def _gains(fitted: Tensor, scored: Tensor) -> Tensor:
    """The gain of each scored image `(N,)`, from squared residuals `(*, pixels)`."""
    count, shared = len(fitted), fitted.mean()
    own = (fitted.sum(0) + shared) / (count + 1)  # Positive also where all residuals are 0.
    gains = (own.reciprocal() * (own / shared - 1) * scored - (own / shared).log()) / 2
    half = torch.tensor(count / 2, dtype=torch.float64)
    loss = (half.digamma() - half.log() + 1 / (half - 1)) / 2 * (count / (count + 1)) ** 2
    return gains.double().sum(1) + loss * scored.shape[1]
