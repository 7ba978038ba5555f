from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from pyrovae import likelihoods
from pyrovae.distributions import WithOutliers
from pyrovae.distributions.constraints import LearnedScale
from pyrovae.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    DynamicBinarization,
    GreyLikelihood,
    Likelihood,
    Normal,
    OptimalScaleNormal,
    PixelLikelihood,
    PixelwiseNormal,
    SharedScaleNormal,
    ThresholdBinarization,
)
from pyrovae.utils.errors import InputError
from tests.support.tables import BATCHES, IMAGE_SHAPE, LIKELIHOODS, call, make_images, random_input

Make = Callable[[], Likelihood]
LEVELS = torch.arange(256, dtype=torch.float64) / 255


def parametrize(names: dict[str, Make]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", names.values(), ids=names.keys())


PIXELS = {name: make for name, make in LIKELIHOODS.items() if isinstance(make(), PixelLikelihood)}
every_likelihood = parametrize(LIKELIHOODS)
every_pixel_likelihood = parametrize(PIXELS)


@every_likelihood
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_observations_are_in_the_support(make: Make, batch: tuple[int, ...]) -> None:
    likelihood = make()
    images = make_images(likelihood, *batch)
    p = call(likelihood, batch)
    for grey in (images, likelihood.dequantize(images)):
        x = likelihood.observe(grey)
        assert x.shape == images.shape and x.dtype == torch.float32
        assert p.support.check(x).all() and x.min() >= 0 and x.max() <= 1
        assert p.log_prob(x).isfinite().all()


@every_likelihood
def test_observing_leaves_the_images_alone(make: Make) -> None:
    likelihood = make()
    images = make_images(likelihood, 4)
    before = images.clone()
    likelihood.observe(likelihood.dequantize(images))
    assert torch.equal(images, before)


@every_likelihood
def test_images_to_show_are_in_the_unit_interval(make: Make) -> None:
    likelihood = make()
    shown = likelihood.to_images(likelihood(5 * random_input(likelihood, (2, 4))))
    assert shown.shape == (2, 4, *IMAGE_SHAPE)
    assert shown.min() >= 0 and shown.max() <= 1 and shown.std() > 0.1


@every_likelihood
def test_drawn_images_have_the_noise_of_the_likelihood(make: Make) -> None:
    likelihood = make()
    p = likelihood(random_input(likelihood, (2, 4)))
    drawn = likelihood.drawn(p)
    assert drawn.shape == (2, 4, *IMAGE_SHAPE) and drawn.min() >= 0 and drawn.max() <= 1
    assert not torch.equal(drawn, likelihood.drawn(p))
    assert not torch.equal(drawn, likelihood.to_images(p))


@every_pixel_likelihood
def test_what_is_shown_is_the_mean_of_draws(make: Make) -> None:
    likelihood = make().double()
    p = likelihood(0.5 + torch.randn(likelihood.num_maps(1), 6, 5, dtype=torch.float64))
    x = p.sample((4000,))
    error = x.std(0) / math.sqrt(len(x))
    gap = likelihood.to_images(p) - x.mean(0).clamp(0, 1)
    assert (gap.abs() < 5 * error + 0.5 / 255).all()


def test_what_a_bernoulli_shows_is_its_probability() -> None:
    h = torch.tensor([-1.0, 0.0, 2.0]).reshape(1, 1, 1, 3)
    assert torch.equal(Bernoulli().to_images(Bernoulli()(h)), torch.sigmoid(h))


@every_likelihood
def test_what_turns_scores_into_bits_is_the_kind_of_likelihood(make: Make) -> None:
    likelihood = make()
    levels = likelihood.grey_levels
    assert levels == (1 if isinstance(likelihood, GreyLikelihood) else levels and 256)
    bits = likelihood.bits_per_dim(elbo=-120.0, num_dims=30)
    if levels is None:
        assert bits is None and isinstance(likelihood, Bernoulli)
    else:
        assert bits == pytest.approx(math.log2(levels) + 4 / math.log(2))


@every_likelihood
def test_grey_draws_are_grey_values(make: Make) -> None:
    likelihood = make()
    x = call(likelihood, (20,)).sample()
    on_levels = bool((((x * 255).round() / 255) == x).all()) and x.min() >= 0 and x.max() <= 1
    assert on_levels == (likelihood.grey_levels != 256)


def grey(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).reshape(1, 1, 1, -1)


def test_bernoulli_refuses_grey_and_takes_binary() -> None:
    Bernoulli().check(grey(0, 255, 255))
    for value in (1, 128, 254):
        with pytest.raises(InputError, match="hold grey values"):
            Bernoulli().check(grey(0, 255, value))
    for binarization in (DynamicBinarization(), ThresholdBinarization()):
        Bernoulli(binarization).check(grey(0, 7, 255))


@every_pixel_likelihood
def test_pixel_likelihoods_take_any_image(make: Make) -> None:
    make().check(grey(*range(256)).expand(1, IMAGE_SHAPE[0], 1, -1))


def test_bernoulli_without_binarization_keeps_binary_pixels() -> None:
    assert Bernoulli().observe(grey(0, 255, 0)).flatten().tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(("threshold", "first_white"), [(0.0, 1), (0.4, 103), (0.5, 128)])
def test_the_threshold_is_the_brightest_black(threshold: float, first_white: int) -> None:
    levels = torch.arange(256)
    binary = ThresholdBinarization(threshold)(levels)
    assert torch.equal(binary, (levels >= first_white).float())


@pytest.mark.parametrize("raw", [-1e4, -1.0, 0.0, 0.5])
def test_a_learned_scale_has_a_floor(raw: float) -> None:
    scale = LearnedScale(0.3)
    nn.init.constant_(scale.raw, raw)
    assert scale().item() == pytest.approx(0.001 + 0.3 * math.exp(max(10 * raw, -700)), rel=1e-5)


def standard_deviation(likelihood: Likelihood) -> float:
    """That of a pixel in the middle of the grey values, from its distribution alone."""
    loc = torch.full((1, 1, 1), 0.5, dtype=torch.float64)
    p = likelihood.double().eval()(likelihood.maps(loc))
    if not isinstance(likelihood, GreyLikelihood):
        return p.stddev.item()
    share = p.log_prob(LEVELS.reshape(-1, 1, 1, 1)).exp()
    variance = (share * LEVELS.square()).sum() - (share * LEVELS).sum().square()
    return math.sqrt(variance.item() - 1 / 12 / 255**2)  # less what rounding adds


ONE_SCALE: dict[str, Callable[[float], Likelihood]] = {
    "Normal": Normal,
    "SharedScaleNormal": SharedScaleNormal,
    "OptimalScaleNormal": OptimalScaleNormal,
    "Laplace": likelihoods.Laplace,
    "StudentT": lambda scale: likelihoods.StudentT(4.0, scale),
    "DiscretizedLogistic": DiscretizedLogistic,
    "PixelwiseNormal": PixelwiseNormal,
    "DiscretizedLogisticMixture": lambda scale: DiscretizedLogisticMixture(2, scale),
}
every_one_scale = pytest.mark.parametrize("name", ONE_SCALE)


@every_one_scale
def test_the_scale_is_the_one_asked_for(name: str) -> None:
    logistic = math.pi / math.sqrt(3)
    ratio = {
        "Laplace": math.sqrt(2),
        "StudentT": math.sqrt(2),
        "DiscretizedLogistic": logistic,
        "DiscretizedLogisticMixture": logistic * math.sqrt((1 / 2 + 2) / 2),
    }.get(name, 1.0)
    learned = name not in ("Normal", "OptimalScaleNormal")
    expected = ratio * (0.02 + 0.001 * learned) + (name == "PixelwiseNormal") / 256
    assert standard_deviation(ONE_SCALE[name](0.02)) == pytest.approx(expected, rel=1e-3)


@every_one_scale
@pytest.mark.parametrize("start", [0.03, 1e-9])
def test_a_start_is_a_standard_deviation(name: str, start: float) -> None:
    likelihood = ONE_SCALE[name](0.05)
    took = likelihood.start_at(start)
    assert standard_deviation(likelihood) == pytest.approx(took, rel=1e-2 if took > 0.01 else 0.1)
    if name == "Normal":
        assert took == 0.05
    else:
        assert took == pytest.approx(start, rel=1e-5) if start > 0.01 else 9.99e-4 < took < 6e-3


@every_one_scale
@torch.no_grad()
def test_maps_of_a_location_are_linear_and_show_it(name: str) -> None:
    likelihood = ONE_SCALE[name](0.01).double().eval()
    maps = likelihood.maps
    x, y = (0.3 + 0.4 * torch.rand(2, 3, 4, 4, dtype=torch.float64) for _ in range(2))
    assert maps(x).shape == (2, likelihood.num_maps(3), 4, 4)
    assert torch.allclose(likelihood(maps(x)).mean, x, atol=1e-6)
    assert torch.allclose(maps((x + y) / 2), (maps(x) + maps(y)) / 2)


@torch.no_grad()
def test_a_scale_for_each_pixel_comes_from_the_second_half_of_the_maps() -> None:
    likelihood = PixelwiseNormal(0.3)
    h = random_input(likelihood, (2,))
    p = likelihood(h)
    assert torch.equal(p.mean, h[:, :3])
    expected = 1 / 256 + 0.301 * (5 * torch.tanh(h[:, 3:] / 5)).exp()
    assert torch.allclose(p.stddev, expected)


@pytest.mark.parametrize("raw", [0.0, 1e30, -1e30, math.inf, -math.inf])
def test_no_scale_of_a_pixel_falls_below_a_grey_level(raw: float) -> None:
    h = torch.tensor([0.5, raw]).reshape(2, 1, 1).requires_grad_()
    p = PixelwiseNormal()(h)
    assert 1 / 256 <= p.stddev.item() < 0.201 * math.exp(5) + 0.1
    p.log_prob(torch.zeros(1, 1, 1)).backward()
    assert h.grad is not None and h.grad.isfinite().all()


def test_maps_of_a_mixture_are_those_of_its_components() -> None:
    """Weight, locations, scales and coefficients of one component after another."""
    likelihood = DiscretizedLogisticMixture(2)
    h = random_input(likelihood, (2,), torch.float64)
    p = likelihood(h)
    for k, part in enumerate(h.split(10, dim=1)):
        assert torch.equal(p.logits[:, k], part[:, 0])
        assert torch.allclose(p.loc[:, k], part[:, 1:4] + (0.25, 0.75)[k])
        assert torch.allclose(p.scale[:, k], 0.251 * (6 * torch.tanh(part[:, 4:7] / 6)).exp())
        assert torch.allclose(p.coefficients[:, k], 2 * part[:, 7:10].tanh())


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels_of_a_mixture_are_counted_from_its_maps(channels: int) -> None:
    likelihood = DiscretizedLogisticMixture(3)
    h = torch.zeros(likelihood.num_maps(channels), 4, 2)
    assert likelihood(h).event_shape == (channels, 4, 2)


def test_maps_of_a_categorical_are_the_256_of_each_channel() -> None:
    h = torch.zeros(768, 4, 2)
    image = torch.randint(0, 256, (3, 4, 2))
    for c in range(3):
        h[256 * c : 256 * (c + 1)].scatter_(0, image[c : c + 1], 50.0)
    p = Categorical()(h)
    assert torch.equal(p.sample(), image / 255)
    assert p.log_prob(image / 255).abs() < 1e-6


def residuals(likelihood: OptimalScaleNormal, x: Tensor, h: Tensor) -> list[Tensor]:
    """The square errors of some batches, each scored once in training mode."""
    squares = []
    for batch, location in zip(x, h, strict=True):
        likelihood(location).log_prob(batch)
        squares.append((batch - location).square().mean())
    return squares


def test_the_optimal_scale_maximises_the_likelihood_of_the_batch() -> None:
    likelihood = OptimalScaleNormal().double()
    x, h = torch.rand(2, 4, *IMAGE_SHAPE, dtype=torch.float64)
    total = likelihood(h.requires_grad_()).log_prob(x).sum()
    (found,) = torch.autograd.grad(total, h)
    profile = -x.numel() / 2 * (1 + (2 * math.pi * (x - h).square().mean()).log())
    (expected,) = torch.autograd.grad(profile, h)
    assert torch.allclose(total, profile) and torch.allclose(found, expected)
    for factor in (0.9, 1.1):
        scale = factor * (x - h).square().mean().sqrt().item()
        assert Normal(scale)(h).log_prob(x).sum() < total


def test_the_optimal_scale_has_a_floor() -> None:
    x = torch.rand(4, *IMAGE_SHAPE)
    assert torch.allclose(
        OptimalScaleNormal()(x).log_prob(x), Normal(1e-3)(x).log_prob(x), rtol=1e-5
    )


@torch.no_grad()
def test_the_optimal_scale_is_a_constant_outside_of_training() -> None:
    likelihood = OptimalScaleNormal(0.3)
    x, h = torch.rand(2, 5, 4, *IMAGE_SHAPE)
    squares = residuals(likelihood, x, h)
    likelihood.eval()
    before = likelihood.mean_square.clone()
    found = likelihood(h[0]).log_prob(x[0])
    expected = Normal(torch.stack(squares).mean().sqrt().item())(h[0]).log_prob(x[0])
    assert torch.allclose(found, expected, rtol=1e-5)
    assert torch.allclose(likelihood(h[0, :1]).log_prob(x[0, :1]), found[:1])
    assert torch.equal(likelihood.mean_square, before) and likelihood.num_batches == 5


@torch.no_grad()
def test_the_optimal_scale_remembers_a_hundred_batches() -> None:
    likelihood = OptimalScaleNormal(0.3).double()
    x, h = torch.rand(2, 130, 2, 1, 2, 2, dtype=torch.float64)
    squares = residuals(likelihood, x, h)
    expected = torch.stack(squares[:100]).mean()
    for square in squares[100:]:
        expected = 0.99 * expected + 0.01 * square
    assert torch.allclose(likelihood.mean_square, expected)


@torch.no_grad()
def test_draws_of_an_optimal_scale_have_the_remembered_one() -> None:
    likelihood = OptimalScaleNormal(0.3)
    h = torch.full(IMAGE_SHAPE, 0.5)
    for part in (likelihood.train(), likelihood.eval()):
        x = part(h).sample((400,))
        assert x.std().item() == pytest.approx(0.3, rel=0.02)
        assert part(h).stddev.unique().tolist() == pytest.approx([0.3])


def _off(odds: float, mean: float) -> float:
    """The mean of a continuous Bernoulli minus another one."""
    return 1 / (1 - math.exp(-odds)) - 1 / odds - mean if odds else 0.5 - mean


@every_likelihood
def test_the_baseline_has_the_moments_it_is_given(make: Make) -> None:
    likelihood = make()
    mean = torch.rand(IMAGE_SHAPE, dtype=torch.float64) * 0.2 + 0.4
    variance = mean * (1 - mean)
    if isinstance(likelihood, GreyLikelihood):
        variance = variance / 100  # so that no grey value is clipped
    p = likelihood.without_latent(mean, variance)
    assert p.batch_shape == () and p.event_shape == IMAGE_SHAPE
    x = likelihood.observe(make_images(likelihood, 4)).double()
    if likelihood.grey_levels is None:
        expected = x * mean.log() + (1 - x) * (1 - mean).log()
    elif isinstance(likelihood, ContinuousBernoulli):
        found = [brentq(_off, -50, 50, args=(own,)) for own in mean.flatten().tolist()]
        odds = torch.tensor(found, dtype=torch.double).reshape(IMAGE_SHAPE)
        expected = odds * x + (odds / torch.expm1(odds)).log()
    elif likelihood.grey_levels == 256:
        expected = -((x - mean).square() / variance + (2 * math.pi * variance).log()) / 2
    else:
        oracle = scipy.stats.logistic(mean, variance.sqrt() * math.sqrt(3) / math.pi)
        x = (mean + torch.randn(4, *IMAGE_SHAPE) * variance.sqrt()).mul(255).round() / 255
        ends = (oracle.cdf(x + half) for half in (0.5 / 255, -0.5 / 255))
        expected = torch.from_numpy(next(ends) - next(ends)).log()
    if likelihood.grey_levels is not None:  # A share of 0.0001 is uniform over all values.
        uniform = torch.tensor(1e-4 * likelihood.grey_levels / 256).log().double()
        expected = torch.logaddexp(expected + math.log1p(-1e-4), uniform)
    assert torch.allclose(p.log_prob(x), expected.sum((-3, -2, -1)), rtol=1e-5)


@every_likelihood
def test_a_pixel_that_was_always_black_does_not_decide_a_baseline(make: Make) -> None:
    """White in one image, it costs its own range of log densities, 16 nats at most."""
    likelihood = make()
    p = likelihood.without_latent(torch.zeros(IMAGE_SHAPE), torch.zeros(IMAGE_SHAPE))
    black, one = torch.zeros(2, *IMAGE_SHAPE)
    one[:, 2, 3] = 1
    assert 5 < (p.log_prob(black) - p.log_prob(one)) / len(one) < 16


@every_likelihood
def test_the_baseline_survives_pixels_that_never_vary(make: Make) -> None:
    likelihood = make()
    for level in (0.0, 1.0):
        mean = torch.full(IMAGE_SHAPE, level)
        p = likelihood.without_latent(mean, torch.zeros(IMAGE_SHAPE))
        assert p.log_prob(mean).isfinite() and p.log_prob(1 - mean).isfinite()
        assert p.log_prob(mean) > p.log_prob(1 - mean)


@pytest.mark.parametrize("level", [1.0, 1 / 256])
def test_draws_with_outliers_have_their_mean_and_their_share(level: float) -> None:
    """100,000 draws of black pixels: 10 outliers on average, with a chance of 2e-9 for 32 more."""
    p = WithOutliers(dist.Delta(torch.zeros(())), level)
    x = p.sample((100_000,))
    outliers = x[x > 0]
    assert 0 < len(outliers) < 42 and (x >= 0).all() and (x <= 1).all()
    assert p.mean == pytest.approx(5e-5)
    if level < 1:
        assert (outliers * 255 - (outliers * 255).round()).abs().max() < 1e-4
