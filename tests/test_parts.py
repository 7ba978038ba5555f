from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.likelihoods import (
    Bernoulli,
    DynamicBinarization,
    Likelihood,
    Normal,
    SharedScaleNormal,
    ThresholdBinarization,
)
from pyrovae.posteriors import DiagonalNormal
from pyrovae.priors import StandardNormal
from tests.tables import (
    IMAGE_SHAPE,
    LATENT_DIM,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
    ROLES,
    concrete_classes,
    make_images,
    shake,
)

Make = Callable[[], nn.Module]
BATCHES = [(), (4,), (2, 4)]
DTYPES = [torch.float32, torch.float64]

every_prior = pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS.keys())
every_likelihood = pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS.keys())
PARTS = {**PRIORS, **POSTERIORS, **LIKELIHOODS}
every_part = pytest.mark.parametrize("make", PARTS.values(), ids=PARTS.keys())


def call(
    part: nn.Module, batch: tuple[int, ...] = (4,), dtype: torch.dtype = torch.float32
) -> dist.TorchDistribution:
    """The distribution of a part at random parameters of the size that it asks for."""
    if hasattr(part, "num_params"):
        return part(torch.randn(*batch, part.num_params, dtype=dtype))
    if hasattr(part, "num_maps"):
        maps = (part.num_maps(IMAGE_SHAPE[0]), *IMAGE_SHAPE[1:])
        return part(torch.randn(*batch, *maps, dtype=dtype))
    return part().expand(batch)


@pytest.mark.parametrize("role", ROLES)
def test_every_part_of_the_package_is_tested(role: str) -> None:
    base, make_all = ROLES[role]
    tested = {type(part) for part in make_all()}
    missing = {kind.__name__ for kind in concrete_classes(base) - tested}
    assert not missing, f"add {missing} to tests/tables.py"


@pytest.mark.parametrize("role", ROLES)
def test_a_class_is_abstract_or_final(role: str) -> None:
    base, _ = ROLES[role]
    for kind in concrete_classes(base):
        assert not [sub for sub in kind.__subclasses__() if sub.__module__.startswith("pyrovae")]
    with pytest.raises(TypeError, match="abstract"):
        base()


@every_part
@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_shapes_samples_and_densities(make: Make, batch: tuple[int, ...]) -> None:
    part = make()
    p = call(part, batch)
    event = IMAGE_SHAPE if isinstance(part, Likelihood) else (LATENT_DIM,)
    assert p.batch_shape == batch and p.event_shape == event
    value = p.sample((5,))
    assert value.shape == (5, *batch, *event)
    assert p.support.check(value).all()
    assert p.log_prob(value).shape == (5, *batch) and p.log_prob(value).isfinite().all()


@every_prior
def test_a_prior_has_no_batch(make: Make) -> None:
    assert make()().batch_shape == ()
    assert make().latent_dim == LATENT_DIM


@every_part
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_types_follow_the_parameters(make: Make, dtype: torch.dtype) -> None:
    p = call(make().to(dtype), dtype=dtype)
    assert p.sample().dtype == p.log_prob(p.sample()).dtype == dtype


@every_part
def test_every_parameter_gets_a_gradient(make: Make) -> None:
    part = make()
    p = call(part)
    if list(part.parameters()):
        p.log_prob(p.sample()).sum().backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@every_part
def test_inputs_get_a_gradient(make: Make) -> None:
    part = make()
    if type(part).__name__ in PRIORS:
        pytest.skip("a prior takes no input")
    size = part.num_params if hasattr(part, "num_params") else None
    h = torch.randn(4, size) if size else torch.randn(4, part.num_maps(3), *IMAGE_SHAPE[1:])
    h.requires_grad_()
    p = part(h)
    p.log_prob(p.sample()).sum().backward()
    assert h.grad is not None and (h.grad != 0).all()


@every_part
def test_state_goes_to_another_instance(make: Make) -> None:
    first, second = make(), make()
    shake(first)
    assert second.load_state_dict(first.state_dict()).missing_keys == []
    torch.manual_seed(1)
    p = call(first)
    torch.manual_seed(1)
    q = call(second)
    value = p.sample()
    assert torch.equal(p.log_prob(value), q.log_prob(value))


@every_part
def test_repr_names_the_class(make: Make) -> None:
    assert type(make()).__name__ in repr(make())


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (StandardNormal(7), "StandardNormal(latent_dim=7)"),
        (DiagonalNormal(7), "DiagonalNormal(latent_dim=7)"),
        (Normal(0.25), "Normal(scale=0.25)"),
        (SharedScaleNormal(0.25), "SharedScaleNormal(initial_scale=0.25)"),
    ],
)
def test_repr_shows_the_arguments(part: nn.Module, text: str) -> None:
    assert repr(part) == text


@pytest.mark.parametrize("kind", [StandardNormal, DiagonalNormal])
@pytest.mark.parametrize("latent_dim", [0, -3])
def test_no_latent_dimension_is_refused(kind: type, latent_dim: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, got {latent_dim}$"):
        kind(latent_dim)


@pytest.mark.parametrize("kind", [Normal, SharedScaleNormal])
@pytest.mark.parametrize("scale", [0.0, -0.5, math.inf, math.nan])
def test_impossible_scales_are_refused(kind: type, scale: float) -> None:
    with pytest.raises(ValueError, match=f"positive and finite, got {scale}$"):
        kind(scale)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, math.nan])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"\[0, 1\), got {threshold}$"):
        ThresholdBinarization(threshold)


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
    maps = 5 * torch.randn(2, 4, likelihood.num_maps(3), *IMAGE_SHAPE[1:])
    shown = likelihood.to_images(likelihood(maps))
    assert shown.shape == (2, 4, *IMAGE_SHAPE)
    assert shown.min() >= 0 and shown.max() <= 1 and shown.std() > 0.1


@pytest.mark.parametrize("make", [LIKELIHOODS["Normal"], LIKELIHOODS["SharedScaleNormal"]])
def test_what_a_normal_likelihood_shows_is_its_mean(make: Make) -> None:
    h = torch.tensor([-0.5, 0.25, 1.5]).reshape(1, 1, 1, 3)
    shown = make().to_images(make()(h))
    assert shown.flatten().tolist() == [0.0, 0.25, 1.0]


def test_what_a_bernoulli_shows_is_its_probability() -> None:
    h = torch.tensor([-1.0, 0.0, 2.0]).reshape(1, 1, 1, 3)
    assert torch.equal(Bernoulli().to_images(Bernoulli()(h)), torch.sigmoid(h))


@pytest.mark.parametrize("levels", [256, 1])
def test_bits_per_dim_of_a_density_and_of_a_probability(levels: int) -> None:
    likelihood = Normal()
    likelihood.grey_levels = levels
    bits = likelihood.bits_per_dim(elbo=-120.0, num_dims=30)
    assert bits == pytest.approx(math.log2(levels) + 4 / math.log(2))


def test_the_uniform_density_costs_eight_bits() -> None:
    assert Normal().bits_per_dim(elbo=0.0, num_dims=12) == pytest.approx(8.0)


def test_binary_pixels_have_no_bits_per_dim() -> None:
    assert Bernoulli().bits_per_dim(-100.0, 30) is None


def grey(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).reshape(1, 1, 1, -1)


def test_bernoulli_refuses_grey_and_takes_binary() -> None:
    Bernoulli().check(grey(0, 255, 255))
    for value in (1, 128, 254):
        with pytest.raises(InputError, match="hold grey values"):
            Bernoulli().check(grey(0, 255, value))
    for binarization in (DynamicBinarization(), ThresholdBinarization()):
        Bernoulli(binarization).check(grey(0, 7, 255))


@pytest.mark.parametrize("make", [LIKELIHOODS["Normal"], LIKELIHOODS["SharedScaleNormal"]])
def test_densities_take_any_image(make: Make) -> None:
    make().check(grey(*range(256)))


def test_bernoulli_without_binarization_keeps_binary_pixels() -> None:
    assert Bernoulli().observe(grey(0, 255, 0)).flatten().tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(("threshold", "first_white"), [(0.0, 1), (0.4, 103), (0.5, 128)])
def test_the_threshold_is_the_brightest_black(threshold: float, first_white: int) -> None:
    levels = torch.arange(256)
    binary = ThresholdBinarization(threshold)(levels)
    assert torch.equal(binary, (levels >= first_white).float())


def test_scale_and_initial_scale_are_the_standard_deviation() -> None:
    h = torch.zeros(1, *IMAGE_SHAPE)
    assert torch.allclose(Normal(0.7)(h).stddev, torch.tensor(0.7))
    learned = SharedScaleNormal(0.7)
    assert torch.allclose(learned(h).stddev, torch.tensor(0.7 + learned.MIN_SCALE))
    assert learned.scale.item() == pytest.approx(0.701)


@pytest.mark.parametrize("raw", [-1e4, -1.0, 0.5])
def test_the_learned_scale_has_a_floor(raw: float) -> None:
    likelihood = SharedScaleNormal(0.3)
    nn.init.constant_(likelihood.raw_scale, raw)
    expected = 0.001 + 0.3 * math.exp(max(10 * raw, -700))
    assert likelihood.scale.item() == pytest.approx(expected, rel=1e-5)


def test_a_posterior_splits_its_input_into_location_and_log_scale() -> None:
    h = torch.tensor([[0.5, -2.0, 0.3, -7.0]])
    q = DiagonalNormal(2)(h)
    assert torch.equal(q.mean, h[:, :2])
    expected = (7 * torch.tanh(h[:, 2:] / 7)).exp()
    assert torch.allclose(q.stddev, expected)


@every_likelihood
def test_the_baseline_has_the_moments_it_is_given(make: Make) -> None:
    likelihood = make()
    mean = torch.rand(IMAGE_SHAPE) * 0.8 + 0.1
    p = likelihood.without_latent(mean, mean * (1 - mean))
    assert p.batch_shape == () and p.event_shape == IMAGE_SHAPE
    assert torch.allclose(p.mean, mean) and torch.allclose(p.variance, mean * (1 - mean))
    x = likelihood.observe(make_images(likelihood, 4))
    if likelihood.grey_levels is None:
        expected = x * mean.log() + (1 - x) * (1 - mean).log()
    else:
        variance = mean * (1 - mean)
        expected = -((x - mean).square() / variance + (2 * math.pi * variance).log()) / 2
    assert torch.allclose(p.log_prob(x), expected.sum((-3, -2, -1)), rtol=1e-4)


@every_likelihood
def test_the_baseline_survives_pixels_that_never_vary(make: Make) -> None:
    likelihood = make()
    for level in (0.0, 1.0):
        mean = torch.full(IMAGE_SHAPE, level)
        p = likelihood.without_latent(mean, torch.zeros(IMAGE_SHAPE))
        assert p.log_prob(mean).isfinite() and p.log_prob(1 - mean).isfinite()
        assert p.log_prob(mean) > p.log_prob(1 - mean)
