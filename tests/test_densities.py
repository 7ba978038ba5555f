from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro.distributions.testing.gof import auto_goodness_of_fit
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae.likelihoods import DynamicBinarization, Likelihood
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import Prior, StandardNormal
from tests.tables import FALSE_ALARM, LIKELIHOODS, POSTERIORS, PRIORS

MakeLikelihood = Callable[[], Likelihood]

every_likelihood = pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS.keys())
DENSITIES = {name: make for name, make in LIKELIHOODS.items() if make().grey_levels == 256}
every_density = pytest.mark.parametrize("make", DENSITIES.values(), ids=DENSITIES.keys())


def pixel(likelihood: Likelihood, level: float = 0.3) -> dist.TorchDistribution:
    """The distribution of one pixel, its parameters near a level, in float64."""
    maps = torch.full((likelihood.num_maps(1), 1, 1), level, dtype=torch.float64)
    return likelihood.double()(maps)


def density(p: dist.TorchDistribution, x: Tensor) -> Tensor:
    return p.log_prob(x.reshape(-1, 1, 1, 1)).exp()


def integral(p: dist.TorchDistribution, low: Tensor, high: Tensor, points: int = 33) -> Tensor:
    """The integral of a pixel's density over each interval: Gauss-Legendre quadrature."""
    nodes, weights = map(torch.from_numpy, scipy.special.roots_legendre(points))
    half = (high - low) / 2
    x = low[:, None] + half[:, None] * (nodes + 1)
    return (density(p, x).reshape(x.shape) * weights).sum(1) * half


def everything(likelihood: Likelihood, p: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
    """Intervals that cover all of a pixel's support."""
    ends = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    if p.support.check(torch.full((1, 1, 1), -1.0)).all():
        return ends[:-1], ends[1:]
    ends = torch.linspace(0, 1, 4001, dtype=torch.float64)
    return ends[:-1], ends[1:]


@every_likelihood
@pytest.mark.parametrize("level", [-2.0, 0.3, 1.4])
def test_a_pixel_integrates_to_one(make: MakeLikelihood, level: float) -> None:
    likelihood = make()
    p = pixel(likelihood, level)
    if likelihood.grey_levels == 256:
        total = integral(p, *everything(likelihood, p)).sum()
    else:
        levels = torch.tensor([0, 255]) if likelihood.grey_levels is None else torch.arange(256)
        total = density(p, likelihood.observe(levels.double())).sum()
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_all_binary_images_have_probability_one() -> None:
    p = LIKELIHOODS["Bernoulli"]()(torch.randn(1, 2, 3, dtype=torch.float64))
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    assert p.log_prob(images.reshape(-1, 1, 2, 3)).exp().sum().item() == pytest.approx(1)


@every_density
@torch.no_grad()
def test_normal_likelihoods_equal_scipy(make: MakeLikelihood) -> None:
    likelihood = make().double()
    h, x = torch.randn(2, 4, 3, 5, 2, dtype=torch.float64)
    scale = float(likelihood.scale)
    expected = scipy.stats.norm(h.numpy(), scale).logpdf(x.numpy()).sum((1, 2, 3))
    assert likelihood(h).log_prob(x).numpy() == pytest.approx(expected, rel=1e-12)


def test_bernoulli_equals_scipy() -> None:
    h = torch.randn(4, 3, 5, 2, dtype=torch.float64)
    x = (torch.rand(h.shape) < 0.5).double()
    expected = scipy.stats.bernoulli(h.sigmoid().numpy()).logpmf(x.numpy()).sum((1, 2, 3))
    assert LIKELIHOODS["Bernoulli"]()(h).log_prob(x).numpy() == pytest.approx(expected)


def test_standard_normal_equals_scipy() -> None:
    z = torch.randn(10, 3, dtype=torch.float64)
    expected = scipy.stats.multivariate_normal(torch.zeros(3)).logpdf(z.numpy())
    assert StandardNormal(3).double()().log_prob(z).numpy() == pytest.approx(expected)


def test_diagonal_normal_equals_scipy() -> None:
    h, z = torch.randn(6, dtype=torch.float64), torch.randn(10, 3, dtype=torch.float64)
    variance = (14 * torch.tanh(h[3:] / 7)).exp()
    oracle = scipy.stats.multivariate_normal(h[:3].numpy(), torch.diag(variance).numpy())
    assert DiagonalNormal(3)(h).log_prob(z).numpy() == pytest.approx(oracle.logpdf(z.numpy()))


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS.keys())
def test_draws_of_a_prior_fit_its_density(make: Callable[[], Prior]) -> None:
    p = make()()
    z = p.sample((20_000,))
    assert auto_goodness_of_fit(z, p.log_prob(z).exp()) > FALSE_ALARM


@pytest.mark.parametrize("make", POSTERIORS.values(), ids=POSTERIORS.keys())
def test_draws_of_a_posterior_fit_its_density(make: Callable[[], Posterior]) -> None:
    posterior = make()
    q = posterior(torch.randn(posterior.num_params) / 2)
    z = q.sample((20_000,))
    assert auto_goodness_of_fit(z, q.log_prob(z).exp()) > FALSE_ALARM


@every_density
def test_draws_of_a_pixel_fit_its_density(make: MakeLikelihood) -> None:
    p = pixel(make())
    x = p.sample((20_000,)).flatten()
    assert auto_goodness_of_fit(x, density(p, x).detach()) > FALSE_ALARM


def test_draws_of_a_bernoulli_fit_its_probability() -> None:
    p = LIKELIHOODS["Bernoulli"]()(torch.tensor([[[-1.0, 0.0, 2.5]]]))
    ones = p.sample((20_000,)).sum(0).flatten()
    for count, share in zip(ones, p.mean.flatten(), strict=True):
        test = scipy.stats.binomtest(int(count), 20_000, float(share))
        assert test.pvalue > FALSE_ALARM / 3


def dequantized_log_density(likelihood: Likelihood, num_draws: int) -> tuple[Tensor, Tensor]:
    """Mean log density of each of the 256 dequantised levels, and its standard error."""
    images = torch.arange(256).reshape(-1, 1, 1, 1).expand(num_draws, -1, 1, 1, 1)
    x = likelihood.observe(likelihood.dequantize(images)).double()
    found = pixel(likelihood).log_prob(x)
    return found.mean(0), found.std(0) / math.sqrt(num_draws)


@every_density
@pytest.mark.parametrize("scale", [0.02, 0.5])
@torch.no_grad()
def test_bits_per_dim_never_undercut_the_true_code_length(
    make: MakeLikelihood, scale: float
) -> None:
    likelihood = type(make())(scale)
    edges = torch.arange(257, dtype=torch.float64) / 256
    exact = integral(pixel(likelihood), edges[:-1], edges[1:]).log()
    mean, error = dequantized_log_density(likelihood, 2000)
    limit = scipy.stats.norm.isf(FALSE_ALARM / 256)
    bits = torch.tensor([likelihood.bits_per_dim(elbo, 1) for elbo in (mean - limit * error)])
    assert (bits >= -exact / math.log(2) - 1e-6).all()
    gap = exact - (mean - math.log(256))
    assert gap.min() > -limit * error.max() and gap.median() < (0.01 if scale > 0.1 else 0.5)


@every_density
def test_dequantized_levels_fill_the_unit_interval_evenly(make: MakeLikelihood) -> None:
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


EXTREMES = [0.0, 1e30, -1e30, math.inf, -math.inf]


@pytest.mark.parametrize("raw", EXTREMES)
@pytest.mark.parametrize("loc", EXTREMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_input_makes_a_posterior_nan(loc: float, raw: float, dtype: torch.dtype) -> None:
    h = torch.tensor([loc, loc, raw, raw], dtype=dtype, requires_grad=True)
    q, p = DiagonalNormal(2)(h), StandardNormal(2).to(dtype)()
    z = q.rsample((100,))
    divergence = kl_divergence(q, p)
    rate = q.log_prob(z) - p.log_prob(z)
    for value in (z, rate, divergence, q.mean, q.stddev):
        assert value.isfinite().all()
    assert (q.stddev > 0).all() and divergence >= 0
    (divergence + rate.sum()).backward()
    assert h.grad is not None and h.grad.isfinite().all()


def test_the_posterior_is_unbent_where_networks_live() -> None:
    raw = torch.linspace(-1, 1, 21, dtype=torch.float64)
    q = DiagonalNormal(21)(torch.cat([100 * raw, raw]))
    assert torch.equal(q.mean, 100 * raw)
    assert (q.stddev.log() - raw).abs().max() < 0.01
