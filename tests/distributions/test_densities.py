from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro.distributions.testing.gof import auto_goodness_of_fit
from torch import Tensor

from pyrovae import likelihoods
from pyrovae.distributions import ContinuousBernoulli
from pyrovae.distributions.constraints import LearnedScale
from pyrovae.likelihoods import (
    DensityLikelihood,
    DynamicBinarization,
    Likelihood,
    Normal,
    OptimalScaleNormal,
    PixelwiseNormal,
    SharedScaleNormal,
)
from tests.support.tables import DTYPES, FALSE_ALARM, LIKELIHOODS

Make = Callable[[], Likelihood]


def parametrize(table: dict[str, Make]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", table.values(), ids=table.keys())


DENSITIES = {n: make for n, make in LIKELIHOODS.items() if isinstance(make(), DensityLikelihood)}
ON_THE_LINE = {name: make for name, make in DENSITIES.items() if name != "ContinuousBernoulli"}
every_density = parametrize(DENSITIES)
every_density_on_the_line = parametrize(ON_THE_LINE)


def pixel(likelihood: Likelihood, level: float = 0.3) -> dist.TorchDistribution:
    """The distribution of one pixel, its parameters near a level, in float64."""
    maps = torch.full((likelihood.num_maps(1), 1, 1), level, dtype=torch.float64)
    return likelihood.double().eval()(maps)


def density(p: dist.TorchDistribution, x: Tensor) -> Tensor:
    return p.log_prob(x.reshape(-1, 1, 1, 1)).exp()


def integral(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, points: int = 33) -> Tensor:
    """The integral of a function over each interval, in float64: Gauss-Legendre quadrature."""
    nodes, weights = map(torch.from_numpy, scipy.special.roots_legendre(points))
    half = (high - low).double() / 2
    x = low.double()[:, None] + half[:, None] * (nodes + 1)
    return (f(x.flatten()).reshape(x.shape) * weights).sum(1) * half


def pieces(low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    ends = torch.linspace(low, high, count + 1, dtype=torch.float64)
    return ends[:-1], ends[1:]


def stretch(likelihood: DensityLikelihood, size: float) -> DensityLikelihood:
    """Moves a scale to its floor or far above its start, if the likelihood has a scale."""
    for part in likelihood.modules():
        if isinstance(part, (LearnedScale, OptimalScaleNormal)):
            part.start_at(size)
    return likelihood


@every_density_on_the_line
@pytest.mark.parametrize("level", [-300.0, -2.0, 0.3, 1.4, 300.0])
@pytest.mark.parametrize("size", [0.0, 0.3, 1e4], ids="scale={}".format)
def test_a_density_on_the_line_integrates_to_one(make: Make, level: float, size: float) -> None:
    p = pixel(stretch(make(), size), level)
    loc, scale = p.mean.item(), p.stddev.item()

    def stretched(t: Tensor) -> Tensor:
        return density(p, loc + scale * t.sinh()) * scale * t.cosh()

    assert integral(stretched, *pieces(-25, 25, 200)).sum().item() == pytest.approx(1, abs=1e-9)


#: Log odds where the formulas change, and far beyond what networks give.
LOGITS = [0.0, 1e-8, 1e-4, 9.9e-4, 1.1e-3, 0.049, 0.051, 0.099, 0.101, 1.0, 30.0, 200.0]
both_signs = pytest.mark.parametrize("logit", [*LOGITS, *(-logit for logit in LOGITS[1:])])
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def share(logit: float, dtype: torch.dtype = torch.float64) -> ContinuousBernoulli:
    return ContinuousBernoulli(torch.tensor(logit, dtype=dtype, requires_grad=True))


@both_signs
@every_dtype
@torch.no_grad()
def test_a_continuous_bernoulli_integrates_to_one(logit: float, dtype: torch.dtype) -> None:
    p = share(logit, dtype)
    total = integral(lambda x: p.log_prob(x.to(dtype)).exp().double(), *pieces(0, 1, 500)).sum()
    assert total.item() == pytest.approx(1, abs=1e-11 if dtype == torch.float64 else 2e-5)


@both_signs
def test_moments_of_a_continuous_bernoulli_are_its_integrals(logit: float) -> None:
    p = share(logit)
    intervals = pieces(0, 1, 500)
    mean = integral(lambda x: p.log_prob(x).exp() * x, *intervals).sum().item()
    spread = integral(lambda x: p.log_prob(x).exp() * (x - mean) ** 2, *intervals).sum().item()
    assert p.mean.item() == pytest.approx(mean, abs=1e-11)
    (slope,) = torch.autograd.grad(p.mean, p.logits)
    assert slope.item() == pytest.approx(spread, rel=1e-6)


@both_signs
@every_dtype
def test_gradients_of_a_continuous_bernoulli_are_value_less_mean(
    logit: float, dtype: torch.dtype
) -> None:
    x = torch.linspace(0, 1, 11, dtype=dtype)
    p, exact = share(logit, dtype), share(logit).mean.detach()
    for value in x:
        (slope,) = torch.autograd.grad(p.log_prob(value), p.logits)
        gap = 1e-10 if dtype == torch.float64 else 1e-5
        assert slope.item() == pytest.approx((value - exact).item(), abs=gap)
    assert p.mean.item() == pytest.approx(exact.item(), abs=5e-6)


@both_signs
@every_dtype
def test_draws_of_a_continuous_bernoulli_move_along_its_quantiles(
    logit: float, dtype: torch.dtype
) -> None:
    """At a fixed share F of the mass below x: dx/dη = -(∂F/∂η) / p(x)."""
    p, exact = share(logit, dtype), share(logit)
    x = p.rsample((5,))
    for value in x:
        (slope,) = torch.autograd.grad(value, p.logits, retain_graph=True)
        below = pieces(0, value.item(), 200)
        mean = exact.mean.item()
        area = integral(lambda t, m=mean: exact.log_prob(t).exp() * (t - m), *below).sum()
        expected = (-area / exact.log_prob(value.double()).exp()).item()
        gap = 1e-7 if dtype == torch.float64 else 1e-4
        assert slope.item() == pytest.approx(expected, rel=10 * gap, abs=gap)


def test_all_binary_images_have_probability_one() -> None:
    p = LIKELIHOODS["Bernoulli"]()(torch.randn(1, 2, 3, dtype=torch.float64))
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    assert p.log_prob(images.reshape(-1, 1, 2, 3)).exp().sum().item() == pytest.approx(1)


SCIPY: dict[str, Callable[[np.ndarray, float], object]] = {
    "Normal": scipy.stats.norm,
    "SharedScaleNormal": scipy.stats.norm,
    "OptimalScaleNormal": scipy.stats.norm,
    "Laplace": scipy.stats.laplace,
    "StudentT": lambda loc, scale: scipy.stats.t(4.0, loc, scale),
}


@pytest.mark.parametrize("name", SCIPY)
@torch.no_grad()
def test_densities_equal_scipy(name: str) -> None:
    likelihood = LIKELIHOODS[name]().double().eval()
    h, x = torch.randn(2, 4, 3, 5, 2, dtype=torch.float64)
    scale = 0.3 if name.startswith(("Normal", "Optimal")) else 0.301
    expected = SCIPY[name](h.numpy(), scale).logpdf(x.numpy()).sum((1, 2, 3))
    assert likelihood(h).log_prob(x).numpy() == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_a_continuous_bernoulli_is_a_truncated_exponential() -> None:
    h, x = 10 * torch.randn(50, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    oracle = scipy.stats.truncexpon(b=h.abs().numpy(), scale=1 / h.abs().numpy())
    expected = oracle.logpdf(torch.where(h < 0, x, 1 - x).numpy())
    assert ContinuousBernoulli(h).log_prob(x).numpy() == pytest.approx(expected, abs=1e-12)


def test_bernoulli_equals_scipy() -> None:
    h = torch.randn(4, 3, 5, 2, dtype=torch.float64)
    x = (torch.rand(h.shape) < 0.5).double()
    expected = scipy.stats.bernoulli(h.sigmoid().numpy()).logpmf(x.numpy()).sum((1, 2, 3))
    assert LIKELIHOODS["Bernoulli"]()(h).log_prob(x).numpy() == pytest.approx(expected)


@every_density
def test_draws_of_a_pixel_fit_its_density(make: Make) -> None:
    p = pixel(make())
    x = p.sample((20_000,)).flatten()
    assert auto_goodness_of_fit(x, density(p, x).detach()) > FALSE_ALARM


@both_signs
def test_draws_of_a_continuous_bernoulli_fit_its_density(logit: float) -> None:
    p = share(logit)
    x = p.sample((20_000,))
    assert auto_goodness_of_fit(x, p.log_prob(x).detach().exp()) > FALSE_ALARM


def test_draws_of_a_bernoulli_fit_its_probability() -> None:
    p = LIKELIHOODS["Bernoulli"]()(torch.tensor([[[-1.0, 0.0, 2.5]]]))
    ones = p.sample((20_000,)).sum(0).flatten()
    for count, mean in zip(ones, p.mean.flatten(), strict=True):
        test = scipy.stats.binomtest(int(count), 20_000, float(mean))
        assert test.pvalue > FALSE_ALARM / 3


def dequantized_log_density(
    likelihood: Likelihood, p: dist.TorchDistribution, num_draws: int
) -> tuple[Tensor, Tensor]:
    """Mean log density of each of the 256 dequantised levels, and its standard error."""
    images = torch.arange(256).reshape(-1, 1, 1, 1).expand(num_draws, -1, 1, 1, 1)
    found = p.log_prob(likelihood.observe(likelihood.dequantize(images)).double())
    return found.mean(0), found.std(0) / math.sqrt(num_draws)


SCALED: list[Callable[[float], Likelihood]] = [
    Normal,
    SharedScaleNormal,
    OptimalScaleNormal,
    PixelwiseNormal,
    likelihoods.Laplace,
    lambda scale: likelihoods.StudentT(4.0, scale),
]

#: Likelihoods that are wide beside a grey level, then sharp ones; a parameter; the bound's gap.
WIDE_AND_SHARP: list[tuple[Likelihood, float, float]] = [
    *((make(0.5), 0.3, 0.01) for make in SCALED),
    *((make(0.02), 0.3, 0.5) for make in SCALED),
    (likelihoods.ContinuousBernoulli(), 0.3, 0.01),
    (likelihoods.ContinuousBernoulli(), 80.0, 0.5),
]


@pytest.mark.parametrize(("likelihood", "level", "allowed"), WIDE_AND_SHARP)
@torch.no_grad()
def test_bits_per_dim_never_undercut_the_true_code_length(
    likelihood: Likelihood, level: float, allowed: float
) -> None:
    p = pixel(likelihood, level)
    exact = integral(lambda x: density(p, x), *pieces(0, 1, 256)).log()
    mean, error = dequantized_log_density(likelihood, p, 2000)
    limit = scipy.stats.norm.isf(FALSE_ALARM / 256)
    bits = torch.tensor([likelihood.bits_per_dim(elbo, 1) for elbo in (mean - limit * error)])
    assert (bits >= -exact / math.log(2) - 1e-6).all()
    gap = exact - (mean - math.log(256))
    assert gap.min() > -limit * error.max() and gap.median() < allowed


@every_density
def test_dequantized_levels_fill_the_unit_interval_evenly(make: Make) -> None:
    likelihood = make()
    x = likelihood.observe(likelihood.dequantize(torch.arange(256).repeat(200)))
    assert torch.equal((x * 256).floor().clamp(max=255), torch.arange(256.0).repeat(200))
    assert scipy.stats.kstest(x.numpy(), "uniform").pvalue > FALSE_ALARM
    assert not torch.equal(x[:256], x[256:512])


def test_drawn_binary_pixels_have_the_grey_value_as_their_mean() -> None:
    draws, levels = 20_000, torch.arange(256, dtype=torch.uint8)
    ones = sum(DynamicBinarization()(levels.expand(1000, 256)).sum(0) for _ in range(20))
    assert ones[0] == 0 and ones[255] == draws
    share = levels[1:255] / 255
    deviation = (ones[1:255] - draws * share).square() / (draws * share * (1 - share))
    assert scipy.stats.chi2(254).sf(deviation.sum()) > FALSE_ALARM
    assert scipy.stats.chi2(254).cdf(deviation.sum()) > FALSE_ALARM


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24])
def test_black_and_white_stay_at_the_ends_of_the_noise(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, noise))
    for dtype in (torch.uint8, torch.float32):
        images = torch.tensor([0, 255], dtype=dtype)
        assert DynamicBinarization()(images).tolist() == [0.0, 1.0]


def test_binary_pixels_are_drawn_anew_each_time() -> None:
    images = torch.full((2, 1, 30, 30), 128, dtype=torch.uint8)
    first, second = DynamicBinarization()(images), DynamicBinarization()(images)
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
