from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pyro
import pytest
import torch
from torch import nn

from pyrovae import likelihoods, posteriors, priors
from pyrovae.likelihoods import Likelihood, ThresholdBinarization
from pyrovae.priors import Prior
from tests.support.tables import (
    BATCHES,
    DTYPES,
    IMAGE_SHAPE,
    LATENT_DIM,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
    ROLES,
    call,
    concrete_classes,
    random_input,
    shake,
)

Make = Callable[[], nn.Module]
TABLES = {"prior": PRIORS, "posterior": POSTERIORS, "likelihood": LIKELIHOODS}
PARTS = {f"{role}-{name}": make for role, table in TABLES.items() for name, make in table.items()}
every_part = pytest.mark.parametrize("make", PARTS.values(), ids=PARTS.keys())
every_prior = pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS.keys())


@pytest.mark.parametrize("role", ROLES)
def test_every_part_of_the_package_is_tested(role: str) -> None:
    base, make_all = ROLES[role]
    tested = {type(part) for part in make_all()}
    missing = {kind.__name__ for kind in concrete_classes(base) - tested}
    assert not missing, f"add {missing} to tests/support/tables.py"


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
    assert value.shape == (5, *batch, *event) and not value.requires_grad
    assert p.support.check(value).all()
    assert p.log_prob(value).shape == (5, *batch) and p.log_prob(value).isfinite().all()


@every_part
def test_a_distribution_takes_more_batch_dimensions(make: Make) -> None:
    """As plates of particles ask for."""
    p = call(make())
    wide = p.expand((2, 4))
    assert wide.batch_shape == (2, 4) and wide.event_shape == p.event_shape
    value = wide.sample((3,))
    assert value.shape == (3, 2, 4, *p.event_shape)
    assert wide.log_prob(value).allclose(p.log_prob(value), rtol=1e-4, atol=1e-4)


@every_prior
def test_a_prior_has_no_batch(make: Make) -> None:
    assert make()().batch_shape == ()
    assert make().latent_dim == LATENT_DIM


@every_part
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_types_follow_the_parameters(make: Make, dtype: torch.dtype) -> None:
    p = call(make().to(dtype), dtype=dtype)
    assert p.sample().dtype == p.log_prob(p.sample()).dtype == dtype
    if p.has_rsample:
        assert p.rsample().dtype == p.log_prob(p.rsample()).dtype == dtype


#: These look at numbers while they compute, which the device without numbers cannot give.
LOOKING = ["posterior-InverseAutoregressiveFlow", "posterior-VonMisesFisher"]


@pytest.mark.parametrize("name", [name for name in PARTS if name not in LOOKING])
def test_parts_compute_where_they_are(name: str) -> None:
    part = PARTS[name]().to("meta")
    with pyro.validation_enabled(False):
        p = part() if isinstance(part, Prior) else part(random_input(part).to("meta"))
        for draw in (p.sample, p.rsample) if p.has_rsample else (p.sample,):
            try:
                value = draw((2,))
            except NotImplementedError as error:  # PyTorch 2.6 has no gamma without numbers.
                assert "aten::_standard_gamma" in str(error)
                pytest.skip("this PyTorch cannot")
            assert value.is_meta and p.log_prob(value).is_meta
            assert p.log_prob(value.clone()).is_meta


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
    part = make().double()
    if isinstance(part, Prior):
        pytest.skip("a prior takes no input")
    h = random_input(part, dtype=torch.float64).requires_grad_()
    p = part(h)
    p.log_prob(p.sample()).sum().backward()
    assert h.grad is not None and (h.grad != 0).all()


@pytest.mark.parametrize("make", POSTERIORS.values(), ids=POSTERIORS.keys())
def test_draws_of_a_posterior_pass_gradients(make: Make) -> None:
    posterior = make()
    h = random_input(posterior).requires_grad_()
    z = posterior(h).rsample()
    (z * torch.randn_like(z)).sum().backward()
    assert h.grad is not None and (h.grad != 0).all()
    for name, parameter in posterior.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


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
        (priors.StandardNormal(7), "StandardNormal(latent_dim=7)"),
        (priors.StudentT(7, 2.5), "StudentT(latent_dim=7, df=2.5)"),
        (priors.GaussianMixture(7, 3), "GaussianMixture(latent_dim=7, num_components=3)"),
        (priors.VampPrior(7, (1, 2, 2), 3), "VampPrior(latent_dim=7, num_components=3)"),
        (posteriors.DiagonalNormal(7), "DiagonalNormal(latent_dim=7)"),
        (posteriors.LowRankNormal(7, 2), "LowRankNormal(latent_dim=7, rank=2)"),
        (posteriors.HouseholderFlow(7, 2), "HouseholderFlow(latent_dim=7, num_reflections=2)"),
        (likelihoods.Normal(0.25), "Normal(scale=0.25)"),
        (likelihoods.OptimalScaleNormal(0.25), "OptimalScaleNormal(initial_scale=0.25)"),
        (likelihoods.Categorical(), "Categorical()"),
    ],
    ids=repr,
)
def test_repr_shows_the_arguments(part: nn.Module, text: str) -> None:
    assert repr(part) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (likelihoods.SharedScaleNormal(0.25), "initial_scale=0.25"),
        (likelihoods.Laplace(0.25), "initial_scale=0.25"),
        (likelihoods.StudentT(4.5, 0.25), "df=4.5, initial_scale=0.25"),
        (likelihoods.DiscretizedLogistic(0.25), "initial_scale=0.25"),
        (posteriors.InverseAutoregressiveFlow(7), "latent_dim=7, context_dim=64"),
        (priors.FlowPrior(7), "latent_dim=7"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_repr_of_a_part_with_parts_shows_the_arguments(part: nn.Module, text: str) -> None:
    assert repr(part).startswith(f"{type(part).__name__}(") and text in repr(part)


@pytest.mark.parametrize("role", ["prior", "posterior"])
@pytest.mark.parametrize("latent_dim", [0, -3])
def test_no_latent_dimension_is_refused(role: str, latent_dim: int) -> None:
    for kind in concrete_classes(ROLES[role][0]):
        with pytest.raises(ValueError, match=rf"at least [12].*, got {latent_dim}(,|$)"):
            kind(latent_dim)


SCALED = [
    likelihoods.Normal,
    likelihoods.SharedScaleNormal,
    likelihoods.OptimalScaleNormal,
    likelihoods.PixelwiseNormal,
    likelihoods.Laplace,
    partial(likelihoods.StudentT, 4.0),
    likelihoods.DiscretizedLogistic,
]


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("scale", [0.0, -0.5, math.inf, math.nan])
def test_impossible_scales_are_refused(kind: Callable[[float], nn.Module], scale: float) -> None:
    with pytest.raises(ValueError, match=f"positive and finite, got {scale}$"):
        kind(scale)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, math.nan])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"\[0, 1\), got {threshold}$"):
        ThresholdBinarization(threshold)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: priors.GaussianMixture(3, 0), "num_components must be at least 1, got 0"),
        (lambda: priors.VampPrior(3, (1, 4, 4), 0), "num_components must be at least 1, got 0"),
        (lambda: priors.VampPrior(3, (4, 4), 5), r"image_shape must be \(C, H, W\), got \(4, 4\)"),
        (lambda: priors.VampPrior(3, (1, 0, 4), 5), r"must be \(C, H, W\), got \(1, 0, 4\)"),
        (lambda: priors.VampPrior(3, (1, 4, 4), 5)(), "has no guide yet"),
        (lambda: priors.StudentT(3, 0.0), "df must be positive and finite, got 0.0"),
        (lambda: priors.StudentT(3, math.inf), "df must be positive and finite, got inf"),
        (lambda: priors.FlowPrior(1), "dim of a flow must be at least 2, got 1"),
        (lambda: priors.RealNVP(3, 0), "num_layers of a flow must be at least 1, got 0"),
        (lambda: priors.RealNVP(3, hidden=[]), r"list of positive numbers, got \[\]"),
        (lambda: priors.NeuralSpline(3, hidden=[4, 0]), r"list of positive numbers, got \[4, 0\]"),
        (lambda: priors.NeuralSpline(3, num_bins=1), "num_bins must be at least 2, got 1"),
        (lambda: priors.NeuralSpline(3, bound=0.0), "bound must be positive and finite, got 0.0"),
        (
            lambda: priors.NeuralSpline(3, bound=math.inf),
            "bound must be positive and finite, got inf",
        ),
        (lambda: posteriors.LowRankNormal(3, 0), "rank must be at least 1, got 0"),
        (lambda: posteriors.HouseholderFlow(3, 0), "num_reflections must be at least 1, got 0"),
        (lambda: posteriors.InverseAutoregressiveFlow(1), "latent_dim must be at least 2"),
        (lambda: posteriors.InverseAutoregressiveFlow(3, 0), "got 3, 0 and 64"),
        (lambda: posteriors.InverseAutoregressiveFlow(3, hidden=[2]), r"= 3, got \[2\]"),
        (lambda: likelihoods.StudentT(2.0), "df must be above 2 and finite, got 2.0"),
        (lambda: likelihoods.StudentT(math.nan), "df must be above 2 and finite, got nan"),
        (lambda: likelihoods.DiscretizedLogisticMixture(0), "at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(
    make: Callable[[], object], text: str
) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        make()
    assert "\n" not in str(caught.value)
