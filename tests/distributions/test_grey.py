"""Probabilities of the 256 grey values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import Tensor

from pyrovae.distributions import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    GreyCategorical,
    grey_levels,
)
from pyrovae.likelihoods import GreyLikelihood
from tests.support.tables import DTYPES, FALSE_ALARM, LIKELIHOODS, random_input

LEVELS = torch.arange(256, dtype=torch.float64) / 255
BOTH = torch.cartesian_prod(LEVELS, LEVELS)

#: Those of independent pixels, or of dependent channels of a pixel.
GREY = {
    name: make
    for name, make in LIKELIHOODS.items()
    if isinstance(make(), GreyLikelihood) and name != "AutoregressiveLogistic"
}
every_grey_likelihood = pytest.mark.parametrize("make", GREY.values(), ids=GREY.keys())
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)

#: Within the grey values, at their ends, between two of them, and far outside.
LOCS = [-1e4, -100.0, -0.2, 0.0, 0.3, 0.5 / 255, 1.0, 1.4, 100.0, 1e4]
#: Below the floor of a learned scale up to far above what data ask for.
SCALES = [6e-4, 1e-3, 0.02, 1.0, 100.0, 1e6]
extremes = pytest.mark.parametrize(("loc", "scale"), list(itertools.product(LOCS, SCALES)))


def logistic(loc: float, scale: float, dtype: torch.dtype = torch.float64) -> DiscretizedLogistic:
    return DiscretizedLogistic(*(torch.tensor(x, dtype=dtype) for x in (loc, scale)))


def log_shares(p: dist.TorchDistribution, dtype: torch.dtype = torch.float64) -> Tensor:
    """The log probability of each of the 256 values of a pixel, in float64."""
    x = LEVELS.to(dtype).reshape(256, *(1 for _ in p.event_shape))
    return p.log_prob(x).double()


def fits_counts(counts: Tensor, shares: Tensor) -> bool:
    """Chi-squared test of counts; values that are rarer than 10 draws are taken together."""
    counts, expected = counts.double(), shares.double() * counts.sum()
    rare = expected < 10
    found, wanted = (torch.cat([x[~rare], x[rare].sum()[None]]) for x in (counts, expected))
    wanted = wanted.clamp(min=1e-9)
    return scipy.stats.chi2(len(wanted)).sf(((found - wanted) ** 2 / wanted).sum()) > FALSE_ALARM


@every_grey_likelihood
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e4], ids="inputs={}".format)
@every_dtype
@torch.no_grad()
def test_a_pixel_has_all_of_the_probability(
    make: Callable[[], GreyLikelihood], size: float, dtype: torch.dtype
) -> None:
    likelihood = make().to(dtype)
    h = size * torch.randn(8, likelihood.num_maps(1), 1, 1, dtype=dtype)
    p = likelihood(h)
    x = LEVELS.to(dtype).reshape(256, 1, 1, 1, 1)
    total = p.log_prob(x.expand(256, 8, 1, 1, 1)).double().exp().sum(0)
    assert total.numpy() == pytest.approx(1, abs=1e-9 if dtype == torch.float64 else 1e-4)


@extremes
@every_dtype
def test_a_discretized_logistic_sums_to_one(loc: float, scale: float, dtype: torch.dtype) -> None:
    total = log_shares(logistic(loc, scale, dtype), dtype).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-10 if dtype == torch.float64 else 1e-5)


def log_difference(oracle: object, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Log probability between two ends, from the tail that they are in."""
    right = low > oracle.mean()
    with np.errstate(all="ignore"):
        more = np.where(right, oracle.logsf(low), oracle.logcdf(high))
        less = np.where(right, oracle.logsf(high), oracle.logcdf(low))
        return more + np.log(-np.expm1(less - more))


@extremes
def test_a_discretized_logistic_equals_scipy_on_every_bin(loc: float, scale: float) -> None:
    ends = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    expected = log_difference(scipy.stats.logistic(loc, scale), ends[:-1], ends[1:])
    found = log_shares(logistic(loc, scale)).numpy()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@extremes
@every_dtype
def test_gradients_of_a_discretized_logistic_are_finite(
    loc: float, scale: float, dtype: torch.dtype
) -> None:
    p = logistic(loc, scale, dtype)
    for parameter in (p.loc, p.scale):
        parameter.requires_grad_()
    p = DiscretizedLogistic(p.loc, p.scale)
    for k in (0, 100, 255):
        value = p.log_prob(LEVELS[k].to(dtype))
        slopes = torch.autograd.grad(value, (p.loc, p.scale))
        assert value.isfinite() and all(slope.isfinite() for slope in slopes)


@pytest.mark.parametrize("loc", LOCS)
@pytest.mark.parametrize("scale", SCALES[:-1])
@every_dtype
def test_the_mean_of_a_discretized_logistic_is_within_half_a_grey_level(
    loc: float, scale: float, dtype: torch.dtype
) -> None:
    exact = (log_shares(logistic(loc, scale)).exp() * LEVELS).sum()
    assert abs(logistic(loc, scale, dtype).mean.item() - exact.item()) < 0.5 / 255 + 1e-5


@pytest.mark.parametrize(
    ("loc", "scale"), [(0.3, 0.02), (0.3, 1.0), (-0.2, 0.3), (1.4, 0.2), (0.5, 1e-3)]
)
def test_draws_of_a_discretized_logistic_fit_its_shares(loc: float, scale: float) -> None:
    p = logistic(loc, scale)
    x = p.sample((100_000,))
    assert grey_levels.check(x).all()
    counts = torch.bincount((x * 255).round().long(), minlength=256)
    assert fits_counts(counts, log_shares(p).exp())


def test_a_categorical_gives_each_value_its_share() -> None:
    logits = torch.randn(2, 1, 1, 256, dtype=torch.float64)
    p = GreyCategorical(logits)
    x = LEVELS[torch.tensor([[3], [255]])].reshape(2, 1, 1)
    shares = logits.softmax(-1)
    assert torch.allclose(p.log_prob(x), (shares[0, 0, 0, 3] * shares[1, 0, 0, 255]).log())
    assert torch.allclose(p.mean, (shares * LEVELS).sum(-1))


def test_draws_of_a_categorical_fit_its_shares() -> None:
    p = GreyCategorical(torch.randn(1, 1, 1, 256, dtype=torch.float64))
    x = p.sample((100_000,)).flatten()
    assert fits_counts(torch.bincount((x * 255).round().long()), log_shares(p).exp())


@pytest.mark.parametrize("size", [200.0, 1e4])
@every_dtype
def test_a_categorical_survives_extreme_logits(size: float, dtype: torch.dtype) -> None:
    logits = (size * torch.randn(4, 1, 1, 256, dtype=dtype)).requires_grad_()
    p = GreyCategorical(logits)
    value = p.log_prob(p.sample().roll(1, 0)).sum()
    (slope,) = torch.autograd.grad(value, logits)
    assert value.isfinite() and slope.isfinite().all()


def mixture(num_components: int, channels: int) -> DiscretizedLogisticMixture:
    """A mixture for one pixel, in float64, its channels strongly dependent."""
    pairs = channels * (channels - 1) // 2
    return DiscretizedLogisticMixture(
        logits=torch.randn(num_components, 1, 1, dtype=torch.float64),
        loc=0.5 + 0.3 * torch.randn(num_components, channels, 1, 1, dtype=torch.float64),
        scale=0.1 * torch.rand(num_components, channels, 1, 1, dtype=torch.float64) + 0.01,
        coefficients=2 * torch.randn(num_components, pairs, 1, 1, dtype=torch.float64).tanh(),
    )


def first_channels(p: DiscretizedLogisticMixture, count: int) -> DiscretizedLogisticMixture:
    """What a mixture says of its first channels alone."""
    pairs = count * (count - 1) // 2
    parts = p.loc[:, :count], p.scale[:, :count], p.coefficients[:, :pairs]
    return DiscretizedLogisticMixture(p.logits, *parts)


def image(channels: Tensor) -> Tensor:
    """Pixels `(N, C)` as images of one pixel."""
    return channels[..., None, None]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_values_of_a_channel_have_the_probability_of_those_before_it(channels: int) -> None:
    """So that the sum over all images is one, whatever the number of channels."""
    p = mixture(3, channels)
    for before in p.sample((20,))[:, :-1, 0, 0]:
        x = torch.cat([before.expand(256, -1), LEVELS[:, None]], dim=1)
        total = p.log_prob(image(x)).logsumexp(0)
        expected = first_channels(p, channels - 1).log_prob(image(before)) if channels > 1 else 0
        assert total.item() == pytest.approx(float(expected), abs=1e-9)


def test_all_pixels_of_two_channels_have_probability_one() -> None:
    assert mixture(3, 2).log_prob(image(BOTH)).exp().sum().item() == pytest.approx(1, abs=1e-9)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def naive_probability(p: DiscretizedLogisticMixture, x: Tensor) -> float:
    """The formula of the class, one number at a time."""
    total = 1.0
    for row, column in itertools.product(*map(range, x.shape[-2:])):
        at = (slice(None), slice(None), row, column)
        loc, scale, slope = (t[at].tolist() for t in (p.loc, p.scale, p.coefficients))
        weights = p.logits[at[0], row, column].softmax(0).tolist()
        value = x[:, row, column].tolist()
        shares = []
        for k, weight in enumerate(weights):
            share = weight
            for c, xc in enumerate(value):
                pairs = slope[k][c * (c - 1) // 2 : c * (c + 1) // 2]
                before = zip(pairs, value, loc[k], strict=False)
                m = loc[k][c] + sum(a * (xj - lj) for a, xj, lj in before)
                ends = [sigmoid((xc + sign / 510 - m) / scale[k][c]) for sign in (-1, 1)]
                low, high = ends[0] * (xc > 0), ends[1] if xc < 1 else 1.0
                share *= high - low
            shares.append(share)
        total *= sum(shares)
    return total


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 3), (3, 2, 2), (4, 1, 1)], ids=str)
def test_a_mixture_is_its_formula(shape: tuple[int, int, int]) -> None:
    likelihood = LIKELIHOODS["DiscretizedLogisticMixture"]()
    h = torch.randn(likelihood.num_maps(shape[0]), *shape[1:], dtype=torch.float64)
    p = likelihood(h)
    for x in p.sample((10,)):
        assert p.log_prob(x).item() == pytest.approx(math.log(naive_probability(p, x)), rel=1e-6)


def test_one_component_without_slopes_is_a_discretized_logistic() -> None:
    p = mixture(1, 3)
    p.coefficients.zero_()
    same = DiscretizedLogistic(p.loc[0], p.scale[0]).to_event(3)
    x = same.sample((10,))
    assert torch.allclose(p.log_prob(x), same.log_prob(x)) and torch.allclose(p.mean, same.mean)


def test_draws_of_a_mixture_fit_its_shares_and_those_of_pairs_of_channels() -> None:
    p = mixture(3, 2)
    x = p.sample((100_000,))[..., 0, 0]
    shares = p.log_prob(image(BOTH)).exp().reshape(256, 256)
    assert grey_levels.check(x).all()
    level = (x * 255).round().long()
    for c in (0, 1):
        assert fits_counts(torch.bincount(level[:, c], minlength=256), shares.sum(1 - c))
    cells = torch.bincount(level[:, 0] // 16 * 16 + level[:, 1] // 16, minlength=256)
    together = shares.reshape(16, 16, 16, 16).sum((1, 3)).flatten()
    assert fits_counts(cells, together)
    apart = together.reshape(16, 16).sum(1)[:, None] * together.reshape(16, 16).sum(0)
    assert not fits_counts(cells, apart.flatten()), "the channels should depend on each other"


@pytest.mark.parametrize("size", [30.0, 1e4])
@every_dtype
def test_a_mixture_survives_extreme_inputs(size: float, dtype: torch.dtype) -> None:
    likelihood = LIKELIHOODS["DiscretizedLogisticMixture"]()
    h = (size * random_input(likelihood, dtype=dtype)).requires_grad_()
    p = likelihood(h)
    x = p.sample()
    (p.log_prob(x).sum() + p.log_prob(1 - x).sum() + p.mean.sum()).backward()
    assert p.log_prob(x).isfinite().all() and p.log_prob(1 - x).isfinite().all()
    assert h.grad is not None and h.grad.isfinite().all()


@pytest.mark.parametrize("value", [-1 / 255, 0.5 / 255, 1.5, math.nan])
@every_grey_likelihood
def test_what_is_no_grey_value_is_refused(
    make: Callable[[], GreyLikelihood], value: float
) -> None:
    likelihood = make()
    p = likelihood(random_input(likelihood, ()))
    with pytest.raises(ValueError, match="within the support"):
        p.log_prob(torch.full(p.event_shape, value))
