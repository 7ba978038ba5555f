"""Distributions on a sphere against Bessel functions, closed forms and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from pyrovae.distributions.von_mises_fisher import SphereUniform, VonMisesFisher
from tests.support.sphere import DTYPES, log_uniform_mean
from tests.support.tables import FALSE_ALARM, Z_LIMIT

DIMS = [2, 3, 5, 20, 128, 512]


CONCENTRATIONS = [0.0, 1e-3, 1.0, 30.0, 1e3, 1e5]


every_dim = pytest.mark.parametrize("dim", DIMS)


every_concentration = pytest.mark.parametrize("concentration", CONCENTRATIONS, ids=str)


def direction(dim: int, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(*batch, dim, dtype=dtype), dim=-1)


def make(dim: int, concentration: float, dtype: torch.dtype = torch.float64) -> VonMisesFisher:
    return VonMisesFisher(direction(dim, dtype=dtype), torch.tensor(concentration, dtype=dtype))


def log_area(dim: int) -> float:
    return math.log(2) + dim / 2 * math.log(math.pi) - scipy.special.gammaln(dim / 2)


def mean_cosine(dim: int, concentration: float) -> float:
    if concentration < dim:
        raised = scipy.special.hyp0f1(dim / 2 + 1, concentration**2 / 4)
        return concentration / dim * raised / scipy.special.hyp0f1(dim / 2, concentration**2 / 4)
    over, under = (scipy.special.ive(dim / 2 - i, concentration) for i in (0, 1))
    return over / under


def variance_of_cosine(dim: int, concentration: float) -> float:
    if concentration == 0:
        return 1 / dim
    mean = mean_cosine(dim, concentration)
    return 1 - mean**2 - (dim - 1) * mean / concentration


def angle_share(t: float, dim: int, concentration: float) -> float:
    """The probability of a smaller angle than t, by adaptive quadrature."""

    def density(x: float) -> float:
        """The density of the angle to the location, over that at t."""
        sines = (dim - 2) * math.log(math.sin(x) / math.sin(t))
        return math.exp(sines + concentration * (math.cos(x) - math.cos(t)))

    length = 20 * math.sqrt(dim / max(concentration, 1))
    ends = [(max(0, t - length), t), (t, min(math.pi, t + length))]
    exact = {"epsabs": 0, "epsrel": 1e-13, "limit": 500}
    below, above = (scipy.integrate.quad(density, *end, **exact)[0] for end in ends)
    return below / (below + above)


def angle_shares(angles: Tensor, dim: int, concentration: float) -> np.ndarray:
    """The same for many angles, on a grid."""
    t = np.linspace(0, min(math.pi, 1.01 * float(angles.max())), 200_001)[1:]
    with np.errstate(divide="ignore"):
        log_density = (dim - 2) * np.log(np.sin(t)) - 2 * concentration * np.sin(t / 2) ** 2
    density = np.exp(log_density - log_density.max())
    shares = scipy.integrate.cumulative_trapezoid(density, t, initial=0)
    return np.interp(angles.numpy(), t, shares / shares[-1])


def z_score(draws: Tensor, expected: Tensor | float) -> float:
    """The largest distance of a mean from what is expected, in standard errors."""
    error = (draws.mean(0) - expected) / (draws.std(0) + 1e-12) * math.sqrt(len(draws))
    return error.abs().max().item()


@every_dim
@every_concentration
def test_the_normalizer_and_the_moments_equal_bessel_functions(
    dim: int, concentration: float
) -> None:
    q = make(dim, concentration)
    peak = -log_area(dim) - log_uniform_mean(dim, concentration)
    assert q.log_prob(q.loc).item() == pytest.approx(peak, rel=1e-12, abs=1e-12)
    cosine = (q.mean * q.loc).sum().item()
    assert cosine == pytest.approx(mean_cosine(dim, concentration), rel=1e-12, abs=1e-15)
    if concentration < 1e4:
        expected = variance_of_cosine(dim, concentration)
        assert q._moment(2, 1.0).item() == pytest.approx(expected, rel=1e-6)
    assert q.variance.sum().item() == pytest.approx(1 - cosine**2, rel=1e-9)


@pytest.mark.parametrize("concentration", [0.0, 1e-3, 1.0, 30.0, 1e3])
def test_densities_on_circle_and_sphere_integrate_to_one(concentration: float) -> None:
    turn = torch.arange(2000, dtype=torch.float64) * math.pi / 1000
    circle = torch.stack([turn.cos(), turn.sin()], dim=-1)
    total = make(2, concentration).log_prob(circle).exp().sum() * math.pi / 1000
    assert total.item() == pytest.approx(1, abs=1e-12)
    heights, weights = map(torch.from_numpy, scipy.special.roots_legendre(300))
    turn, radius = turn[::2, None], (1 - heights.square()).sqrt()
    ball = [radius * turn.cos(), radius * turn.sin(), heights.expand(1000, -1)]
    density = make(3, concentration).log_prob(torch.stack(ball, dim=-1)).exp()
    assert (density * weights).sum().item() * math.pi / 500 == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 30.0])
def test_two_dimensions_equal_von_mises(concentration: float) -> None:
    q, turn = make(2, concentration), torch.randn(50, dtype=torch.float64)
    found = q.log_prob(torch.stack([turn.cos(), turn.sin()], dim=-1)).numpy()
    loc = math.atan2(q.loc[1], q.loc[0])
    oracle = scipy.stats.vonmises(concentration, loc)
    assert found == pytest.approx(oracle.logpdf(turn.numpy()), abs=1e-12)
    assert q.entropy().item() == pytest.approx(oracle.entropy(), abs=1e-12)


@pytest.mark.parametrize("concentration", [0.1, 1.0, 30.0, 300.0])
def test_three_dimensions_equal_the_closed_form(concentration: float) -> None:
    q, z = make(3, concentration), direction(3, 50)
    constant = math.log(concentration / (4 * math.pi * math.sinh(concentration)))
    assert torch.allclose(q.log_prob(z), constant + concentration * (z @ q.loc), atol=1e-11)
    mean = 1 / math.tanh(concentration) - 1 / concentration
    assert torch.allclose(q.mean, mean * q.loc, rtol=1e-12)
    divergence = kl_divergence(q, SphereUniform(3)).item()
    expected = constant + concentration * mean + math.log(4 * math.pi)
    assert divergence == pytest.approx(expected, abs=1e-12)


@every_dim
@every_concentration
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_draws_are_unit_vectors_of_the_type_asked_for(
    dim: int, concentration: float, dtype: torch.dtype
) -> None:
    q = VonMisesFisher(direction(dim, 4, dtype=dtype), torch.full((4,), concentration).to(dtype))
    z = q.rsample((500,))
    assert z.shape == (500, 4, dim) and z.dtype == dtype
    assert q.support.check(z).all() and q.support.check(SphereUniform(dim).sample((500,))).all()
    assert q.log_prob(z).dtype == q.entropy().dtype == q.mean.dtype == q.variance.dtype == dtype


@pytest.mark.slow
@every_dim
@every_concentration
def test_angles_of_draws_fit(dim: int, concentration: float) -> None:
    q = make(dim, concentration)
    chord = (q.sample((20_000,)) - q.loc).norm(dim=-1).clamp(max=2)
    shares = angle_shares(2 * (chord / 2).asin(), dim, concentration)
    assert scipy.stats.kstest(shares, "uniform").pvalue > FALSE_ALARM
    assert z_score(chord.square() / 2, 1 - mean_cosine(dim, concentration)) < Z_LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dim", [2, 3, 8, 200])
def test_draws_lie_evenly_around_the_location(dim: int, sign: float) -> None:
    loc = sign * torch.eye(dim, dtype=torch.float64)[0]
    for centre in (loc, direction(dim)):
        q = VonMisesFisher(centre, torch.tensor(2.0, dtype=torch.float64))
        z, across = q.sample((20_000,)), direction(dim)
        tangent = normalize(z - (z @ q.loc)[:, None] * q.loc, dim=-1)
        share = (1 + tangent @ normalize(across - (across @ q.loc) * q.loc, dim=-1)) / 2
        if dim == 2:
            assert scipy.stats.binomtest(int(share.round().sum()), 20_000).pvalue > FALSE_ALARM
        else:
            even = scipy.stats.beta((dim - 2) / 2, (dim - 2) / 2)
            assert scipy.stats.kstest(share.numpy(), even.cdf).pvalue > FALSE_ALARM


@every_dim
def test_uniform_draws_fit(dim: int) -> None:
    share = (1 + SphereUniform(dim, dtype=torch.float64).sample((20_000,)) @ direction(dim)) / 2
    even = scipy.stats.beta((dim - 1) / 2, (dim - 1) / 2)
    assert scipy.stats.kstest(share.numpy(), even.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("dim", [2, 3, 5, 40, 512])
@pytest.mark.parametrize("concentration", [0.1, 3.0, 100.0, 1e4])
def test_draws_move_with_the_concentration_as_quantiles_do(dim: int, concentration: float) -> None:
    kappa = torch.tensor(concentration, dtype=torch.float64, requires_grad=True)
    q, step = VonMisesFisher(direction(dim), kappa), 3e-4 * concentration
    for _ in range(3):
        angle = q._angle(torch.Size())
        t, slope = angle.item(), torch.autograd.grad(angle, kappa)[0].item()
        near = (concentration - step, concentration + step)
        still = [angle_share(t, dim, k) for k in near]
        moved = [angle_share(t + slope * (k - concentration), dim, k) for k in near]
        assert abs(moved[1] - moved[0]) < 1e-5 * abs(still[1] - still[0])


def test_draws_turn_with_the_location() -> None:
    loc = direction(5, 7).requires_grad_()
    q = VonMisesFisher(loc, torch.full((7,), 3.0, dtype=torch.float64))
    z, weights, turn = q.rsample((4,)), direction(5, 4, 7), direction(5, 7)
    turn = turn - (turn * q.loc).sum(-1, keepdim=True) * q.loc
    (grad,) = torch.autograd.grad((z * weights).sum(), loc)
    cosine, sine = ((z * part).sum(-1, keepdim=True) for part in (q.loc, turn))
    rotated = cosine * turn - sine * q.loc
    assert torch.allclose((grad * turn).sum(), (rotated * weights).sum(), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 3, 40])
def test_gradients_through_draws_are_those_of_the_mean(dim: int) -> None:
    loc, weights = direction(dim), torch.randn(dim, dtype=torch.float64)
    rows = loc.repeat(20_000, 1).requires_grad_()
    kappa = torch.full((20_000,), 4.0, dtype=torch.float64, requires_grad=True)
    q = VonMisesFisher(rows, kappa)
    found = torch.autograd.grad((q.rsample() @ weights).sum(), (rows, kappa))
    exact = torch.autograd.grad((q.mean @ weights).sum(), (rows, kappa))
    across = torch.eye(dim, dtype=torch.float64) - loc[:, None] * loc
    assert z_score((found[0] - exact[0]) @ across, 0.0) < Z_LIMIT
    assert z_score(found[1] - exact[1], 0.0) < Z_LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 3, 40])
def test_gradients_equal_finite_differences(dim: int) -> None:
    loc = torch.randn(3, dim, dtype=torch.float64, requires_grad=True)
    kappa = torch.tensor([0.3, 5.0, 200.0], dtype=torch.float64, requires_grad=True)
    z = direction(dim, 3)

    def values(loc: Tensor, kappa: Tensor) -> tuple[Tensor, ...]:
        q = VonMisesFisher(normalize(loc, dim=-1), kappa)
        divergence = kl_divergence(q, SphereUniform(dim))
        return q.log_prob(z), q.entropy(), q.mean, q.variance, divergence

    assert gradcheck(values, (loc, kappa))


@every_dim
@every_concentration
def test_the_divergence_is_exact_and_so_is_its_slope(dim: int, concentration: float) -> None:
    kappa = torch.tensor(concentration, dtype=torch.float64, requires_grad=True)
    q, p = VonMisesFisher(direction(dim), kappa), SphereUniform(dim)
    divergence = kl_divergence(q, p)
    expected = -concentration * (1 - mean_cosine(dim, concentration))
    expected -= log_uniform_mean(dim, concentration)
    assert divergence.item() == pytest.approx(expected, rel=1e-10, abs=1e-12) and divergence >= 0
    assert q.entropy().item() == pytest.approx(log_area(dim) - expected, rel=1e-11, abs=1e-11)
    (slope,) = torch.autograd.grad(divergence, kappa)
    if concentration < 1e4:
        expected = concentration * variance_of_cosine(dim, concentration)
        assert slope.item() == pytest.approx(expected, rel=1e-6, abs=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "concentration"), [(2, 3.0), (3, 30.0), (40, 60.0), (512, 1e3)])
def test_the_divergence_equals_that_of_draws(dim: int, concentration: float) -> None:
    q, p = make(dim, concentration), SphereUniform(dim, dtype=torch.float64)
    z = q.sample((20_000,))
    assert z_score(q.log_prob(z) - p.log_prob(z), kl_divergence(q, p)) < Z_LIMIT


@pytest.mark.parametrize("dim", DIMS)
def test_single_precision_is_close_to_double(dim: int) -> None:
    single = VonMisesFisher(direction(dim, 6, dtype=torch.float32), torch.tensor(CONCENTRATIONS))
    double = VonMisesFisher(normalize(single.loc.double(), dim=-1), single.concentration.double())
    z = single.sample((200,))
    error = single.log_prob(z) - double.log_prob(normalize(z.double(), dim=-1))
    assert error.abs().max() < 2e-3
    pairs = [(q.entropy(), q.mean, kl_divergence(q, SphereUniform(dim))) for q in (single, double)]
    for low, high in zip(*pairs, strict=True):
        assert torch.allclose(low.double(), high, rtol=1e-6, atol=1e-6)


def test_shapes_expand_and_broadcast() -> None:
    q = VonMisesFisher(direction(4, 3), torch.tensor([0.5, 5.0, 50.0], dtype=torch.float64))
    wide = q.expand([2, 3])
    z = wide.rsample((5,))
    assert type(wide) is VonMisesFisher and wide.batch_shape == (2, 3) and z.shape == (5, 2, 3, 4)
    assert torch.equal(wide.log_prob(z), q.log_prob(z))
    assert torch.equal(wide.mean[1], q.mean) and torch.equal(wide.variance[1], q.variance)
    p = SphereUniform(4).expand([2, 3])
    assert p.log_prob(z).shape == z.shape[:-1] and p.sample().shape == p.mean.shape == (2, 3, 4)
    divergence = kl_divergence(q, p)
    assert divergence.shape == (2, 3) and torch.equal(divergence[1], kl_divergence(wide, p)[0])
    q = VonMisesFisher(direction(3, 5, 1), torch.ones(4, dtype=torch.float64))
    assert q.batch_shape == (5, 4) and q.sample((2,)).shape == (2, 5, 4, 3)
    none = VonMisesFisher(direction(3, 0), torch.ones(0, dtype=torch.float64))
    assert none.rsample().shape == (0, 3) and none.entropy().shape == (0,)


def test_wrong_arguments_are_refused() -> None:
    one = torch.ones(())
    with pytest.raises(ValueError, match=r"at least 2 dimensions, got shape \(1,\)$"):
        VonMisesFisher(torch.ones(1), one)
    for loc, kappa, name in ((torch.ones(3), one, "loc"), (torch.eye(3), -one, "concentration")):
        with pytest.raises(ValueError, match=name):
            VonMisesFisher(loc, kappa)
    with pytest.raises(ValueError, match="at least 2, got 1$"):
        SphereUniform(1)
    for p in (make(3, 1.0), SphereUniform(3)):
        with pytest.raises(ValueError, match="support"):
            p.log_prob(torch.ones(3))
    with pytest.raises(ValueError, match="dimensions differ: 3 and 4$"):
        kl_divergence(make(3, 1.0), SphereUniform(4))


def test_gradients_of_gradients_are_refused() -> None:
    kappa = torch.tensor(2.0, requires_grad=True)
    q = VonMisesFisher(direction(3, dtype=torch.float32), kappa)
    for value in (q.rsample().sum(), q.entropy()):
        (grad,) = torch.autograd.grad(value, kappa, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiate twice"):
            grad.backward()


def test_a_nan_does_not_hang_the_draws() -> None:
    q = VonMisesFisher(direction(3), torch.tensor(math.nan), validate_args=False)
    assert q.sample().isnan().all()


def test_values_are_known_once_and_differentiated_often() -> None:
    kappa = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    q = VonMisesFisher(direction(3), kappa)
    assert not q.sample().requires_grad and q.rsample().requires_grad
    for _ in range(2):
        (q.entropy() + q.log_prob(q.loc)).backward()
