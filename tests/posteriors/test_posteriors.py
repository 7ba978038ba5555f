from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from pyrovae import posteriors
from pyrovae.posteriors import (
    DiagonalNormal,
    FullRankNormal,
    HouseholderFlow,
    InverseAutoregressiveFlow,
    LowRankNormal,
    Posterior,
)
from pyrovae.priors import StandardNormal
from tests.support.tables import DTYPES, POSTERIORS, random_input, shake

Make = Callable[[], Posterior]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_posterior = pytest.mark.parametrize("make", POSTERIORS.values(), ids=POSTERIORS.keys())
LOCATED = {n: make for n, make in POSTERIORS.items() if hasattr(make(), "location_and_scale")}

STARTABLE = {
    n: make for n, make in POSTERIORS.items() if type(make()).features is not Posterior.features
}


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def bounded(raw: Tensor, limit: float) -> Tensor:
    return limit * torch.tanh(raw / limit)


@pytest.mark.parametrize("make", LOCATED.values(), ids=LOCATED.keys())
def test_the_first_numbers_are_location_and_log_scale(make: Make) -> None:
    posterior = make()
    h = 3 * numbers(5, posterior.num_params)
    loc, scale = posterior.location_and_scale(h[:, :6])
    assert torch.equal(loc, h[:, :3])
    assert torch.allclose(scale, bounded(h[:, 3:6], 7).exp())


def test_a_diagonal_normal_is_a_normal_of_each_dimension() -> None:
    h, z = 3 * numbers(6), numbers(10, 3)
    q = DiagonalNormal(3)(h)
    expected = dist.Normal(h[:3], bounded(h[3:], 7).exp()).log_prob(z).sum(-1)
    assert torch.allclose(q.log_prob(z), expected)


def test_a_laplace_posterior_is_a_laplace_of_each_dimension() -> None:
    h, z = 3 * numbers(6), numbers(10, 3)
    scale = bounded(h[3:], 7).exp()
    expected = (-(z - h[:3]).abs() / scale - (2 * scale).log()).sum(-1)
    assert torch.allclose(posteriors.Laplace(3)(h).log_prob(z), expected)


@pytest.mark.parametrize("make", STARTABLE.values(), ids=STARTABLE.keys())
def test_features_are_what_gives_mean_and_scale(make: Make) -> None:
    """Within 4.5 standard errors, 18 comparisons a family: an alarm in 8,000 runs of one."""
    posterior = make().double()
    loc, scale = numbers(3, 3), 0.1 + torch.rand(3, 3, dtype=torch.float64)
    z = posterior(posterior.features(loc, scale)).rsample((100_000,))
    assert ((z.mean(0) - loc) / scale).abs().max() < 4.5 / math.sqrt(100_000)
    # A Laplace's kurtosis of 6 makes the error of a deviation the largest of all families.
    assert (z.std(0) / scale - 1).abs().max() < 4.5 * math.sqrt(5 / 4 / 100_000)


@pytest.mark.parametrize("make", STARTABLE.values(), ids=STARTABLE.keys())
def test_features_are_linear_in_the_mean(make: Make) -> None:
    posterior = make().double()
    first, second, scale = numbers(3), numbers(3), torch.ones(3, dtype=torch.float64)
    halfway = posterior.features((first + second) / 2, scale)
    ends = posterior.features(first, scale) + posterior.features(second, scale)
    assert torch.allclose(halfway, ends / 2)


def full_rank_factor(h: Tensor, dim: int) -> Tensor:
    """L = diag(sigma) (I + R), one entry at a time."""
    scale = bounded(h[dim : 2 * dim], 7).exp()
    entries = iter(bounded(h[2 * dim :] / math.sqrt(dim), 30))
    factor = torch.zeros(dim, dim, dtype=h.dtype)
    for row in range(dim):
        for column in range(row):
            factor[row, column] = scale[row] * next(entries)
        factor[row, row] = scale[row]
    return factor


def low_rank_covariance(h: Tensor, dim: int, rank: int) -> Tensor:
    """diag(sigma) (I + F F^T) diag(sigma)."""
    scale = bounded(h[dim : 2 * dim], 7).exp().diag()
    factor = bounded(h[2 * dim :].reshape(dim, rank), 3)
    return scale @ (torch.eye(dim, dtype=h.dtype) + factor @ factor.T) @ scale


def turn(h: Tensor, dim: int, count: int) -> Tensor:
    """The product H_T ... H_1 of the reflections."""
    product = torch.eye(dim, dtype=h.dtype)
    for t, raw in enumerate(h[2 * dim :].reshape(count, dim)):
        v = raw.clone()
        v[t % dim] += 1
        product = (torch.eye(dim, dtype=h.dtype) - 2 * torch.outer(v, v) / (v @ v)) @ product
    return product


def expected_normal(posterior: Posterior, h: Tensor) -> MultivariateNormal:
    """What the docstrings of the Normal families say, in matrices."""
    dim = posterior.latent_dim
    loc = h[:dim]
    if isinstance(posterior, FullRankNormal):
        factor = full_rank_factor(h, dim)
        return MultivariateNormal(loc, factor @ factor.T)
    if isinstance(posterior, LowRankNormal):
        return MultivariateNormal(loc, low_rank_covariance(h, dim, posterior.rank))
    if isinstance(posterior, HouseholderFlow):
        rotation = turn(h, dim, posterior.num_reflections)
        variance = bounded(h[dim : 2 * dim], 7).exp().square().diag()
        return MultivariateNormal(rotation @ loc, rotation @ variance @ rotation.T)
    return MultivariateNormal(loc, bounded(h[dim:], 7).exp().square().diag())


NORMALS = [
    DiagonalNormal(1),
    DiagonalNormal(4),
    FullRankNormal(1),
    FullRankNormal(2),
    FullRankNormal(5),
    LowRankNormal(1, 1),
    LowRankNormal(4, 1),
    LowRankNormal(3, 5),
    HouseholderFlow(1, 1),
    HouseholderFlow(3, 2),
    HouseholderFlow(2, 5),
    HouseholderFlow(5, 5),
]
every_normal = pytest.mark.parametrize("posterior", NORMALS, ids=repr)


@every_normal
@pytest.mark.parametrize("size", [0.3, 3.0])
def test_a_normal_posterior_has_the_covariance_of_its_formula(
    posterior: Posterior, size: float
) -> None:
    posterior = posterior.double()
    h = size * numbers(posterior.num_params)
    oracle, q = expected_normal(posterior, h), posterior(h)
    z = oracle.sample((20,))
    assert torch.allclose(q.log_prob(z), oracle.log_prob(z), rtol=1e-6)
    if not isinstance(posterior, HouseholderFlow):
        assert torch.allclose(q.mean, oracle.mean)
        assert torch.allclose(q.variance, oracle.variance)


@every_normal
def test_divergences_of_normal_posteriors_equal_those_of_torch(posterior: Posterior) -> None:
    posterior = posterior.double()
    if isinstance(posterior, HouseholderFlow):
        pytest.skip("the divergence of a flow has no closed form")
    h = numbers(4, posterior.num_params)
    p = dist.Normal(numbers(posterior.latent_dim), numbers(posterior.latent_dim).exp()).to_event(1)
    found = kl_divergence(posterior(h), p)
    assert found.shape == (4,)
    oracle = MultivariateNormal(p.mean, p.variance.diag())
    for divergence, row in zip(found, h, strict=True):
        expected = kl_divergence(expected_normal(posterior, row), oracle)
        assert divergence.item() == pytest.approx(expected.item())


def test_a_divergence_from_other_families_is_left_to_draws() -> None:
    q = FullRankNormal(3)(torch.zeros(4, 9))
    for p in (dist.Laplace(torch.zeros(3), 1.0), dist.Normal(torch.zeros(2, 3), 1.0)):
        with pytest.raises(NotImplementedError):
            kl_divergence(q, p.to_event(p.mean.dim()))


def test_reflections_reach_every_direction() -> None:
    for direction in nn.functional.normalize(numbers(20, 3), dim=-1):
        h = torch.cat([torch.zeros(6, dtype=torch.float64), 50 * direction])
        h[0], h[6] = 1.0, h[6] - 1
        z = HouseholderFlow(3, 1).double()(h).rsample((2000,)).mean(0)
        mirrored = torch.eye(3, dtype=h.dtype)[0] - 2 * direction[0] * direction
        assert torch.allclose(z, mirrored, atol=0.15)


@every_dtype
def test_a_reflection_without_a_direction_takes_the_axis(dtype: torch.dtype) -> None:
    h = torch.zeros(12, dtype=dtype)
    h[0] = 3.0
    h[6:] = -torch.eye(3, dtype=dtype)[:2].flatten()  # r = -e: v would be zero
    posterior = HouseholderFlow(3, 2).to(dtype)
    (turned,) = posterior(h).transforms
    assert torch.equal(turned(h[:3]), torch.tensor([-3.0, 0.0, 0.0], dtype=dtype))


@pytest.mark.parametrize("dim", [3, 64, 128])
@torch.no_grad()
def test_single_precision_suffices_for_inputs_of_untrained_networks(dim: int) -> None:
    for kind in (DiagonalNormal, FullRankNormal, LowRankNormal, HouseholderFlow):
        posterior = kind(dim)
        h = torch.randn(20, posterior.num_params)
        z = posterior(h).rsample()
        exact = posterior.double()(h.double()).log_prob(z.double())
        found = posterior.float()(h).log_prob(z)
        assert torch.allclose(found.double(), exact, atol=2e-5 * dim), kind


def flow(dim: int, num_flows: int = 2, hidden: int = 16) -> InverseAutoregressiveFlow:
    posterior = InverseAutoregressiveFlow(dim, num_flows, [hidden, hidden], context_dim=3)
    shake(posterior, 0.3)
    return posterior.double()


@pytest.mark.parametrize(("dim", "num_flows"), [(2, 1), (3, 2), (5, 3)])
def test_an_autoregressive_flow_has_the_same_density_at_draws_and_elsewhere(
    dim: int, num_flows: int
) -> None:
    """It remembers where its own draws come from; other points it takes back step by step."""
    posterior = flow(dim, num_flows)
    h = numbers(4, posterior.num_params)
    z = posterior(h).rsample((7,))
    q = posterior(h)
    drawn = q.rsample((7,))
    assert torch.allclose(q.log_prob(drawn), q.log_prob(drawn.clone()), atol=1e-9)
    assert torch.allclose(posterior(h).log_prob(z), q.log_prob(z), atol=1e-9)


@pytest.mark.parametrize(("dim", "num_flows"), [(2, 1), (3, 2), (5, 3)])
def test_the_density_of_an_autoregressive_flow_has_the_determinant_of_its_jacobian(
    dim: int, num_flows: int
) -> None:
    posterior = flow(dim, num_flows)
    q = posterior(numbers(posterior.num_params))

    def through(start: Tensor) -> Tensor:
        for transform in q.transforms:
            start = transform(start)
        return start

    for start in q.base_dist.sample((5,)):
        jacobian = torch.autograd.functional.jacobian(through, start)
        expected = q.base_dist.log_prob(start) - torch.linalg.slogdet(jacobian).logabsdet
        assert q.log_prob(through(start).detach()).item() == pytest.approx(expected.item())


def test_a_step_of_an_autoregressive_flow_is_its_formula() -> None:
    """z' = g z + (1 - g) m, then the order reversed; m and g see the dimensions before."""
    posterior = flow(4, 1)
    h = numbers(posterior.num_params)
    start = numbers(4).requires_grad_()
    q = posterior(h)
    found = start
    for transform in q.transforms:
        found = transform(found)
    m, logit = posterior.networks[0](start, h[8:])
    gate = torch.sigmoid(logit + 2)
    assert torch.allclose(found, (gate * start + (1 - gate) * m).flip(0))
    for output in (m, logit):
        jacobian = torch.stack(
            [torch.autograd.grad(o, start, retain_graph=True)[0] for o in output]
        )
        assert (jacobian.triu() == 0).all() and (jacobian.tril(-1)[1:].abs().sum(1) > 0).all()


@pytest.mark.slow
def test_later_flows_see_the_dimensions_in_reverse() -> None:
    posterior = flow(4, 2)
    q = posterior(numbers(posterior.num_params))

    def through(start: Tensor) -> Tensor:
        for transform in q.transforms:
            start = transform(start)
        return start

    slopes = [torch.autograd.functional.jacobian(through, numbers(4)).abs() for _ in range(30)]
    assert (sum(slopes) > 0).all()


@every_dtype
def test_gates_never_close_so_far_that_the_inverse_is_lost(dtype: torch.dtype) -> None:
    posterior = InverseAutoregressiveFlow(3, 2, [8], 4).to(dtype)
    for network in posterior.networks:
        nn.init.constant_(network.layers[-1].bias, -1e6)
    q = posterior(torch.zeros(posterior.num_params, dtype=dtype))
    z = q.rsample((10,))
    assert q.log_prob(z.clone()).isfinite().all()


EXTREMES = [0.0, 1e30, -1e30, math.inf, -math.inf]


@every_posterior
@pytest.mark.parametrize("first", EXTREMES)
@pytest.mark.parametrize("second", EXTREMES)
@every_dtype
def test_no_input_makes_a_posterior_nan(
    make: Make, first: float, second: float, dtype: torch.dtype
) -> None:
    posterior = make().to(dtype)
    half = posterior.num_params // 2
    values = torch.tensor([first, second], dtype=dtype)
    orders = torch.tensor([[0] * half + [1] * (posterior.num_params - half)] * 2)
    orders[1] = torch.randint(0, 2, (posterior.num_params,))
    h = values[orders].requires_grad_()
    q = posterior(h)
    z = q.rsample((50,))
    own, again = q.log_prob(z), q.log_prob(z.detach().clone())
    for value in (z, own, again):
        assert value.isfinite().all()
    (own.sum() + again.sum() + z.sum()).backward()
    assert h.grad is not None and h.grad.isfinite().all()


@pytest.mark.parametrize("kind", [DiagonalNormal, FullRankNormal, LowRankNormal])
@pytest.mark.parametrize("value", EXTREMES)
@every_dtype
def test_no_input_makes_a_divergence_nan_or_negative(
    kind: type[Posterior], value: float, dtype: torch.dtype
) -> None:
    posterior = kind(3)
    h = torch.full((posterior.num_params,), value, dtype=dtype, requires_grad=True)
    divergence = kl_divergence(posterior(h), StandardNormal(3).to(dtype)())
    divergence.backward()
    assert divergence.isfinite() and divergence >= 0
    assert h.grad is not None and h.grad.isfinite().all()


def test_a_posterior_is_unbent_where_networks_live() -> None:
    raw = torch.linspace(-1, 1, 21, dtype=torch.float64)
    q = DiagonalNormal(21)(torch.cat([100 * raw, raw]))
    assert torch.equal(q.mean, 100 * raw)
    assert (q.stddev.log() - raw).abs().max() < 0.01


@every_posterior
def test_images_do_not_see_each_other(make: Make) -> None:
    posterior = make().double()
    h = random_input(posterior, (5,), torch.float64)
    q = posterior(h)
    z = q.sample()
    for i in range(5):
        assert torch.allclose(posterior(h[i]).log_prob(z[i]), q.log_prob(z)[i], rtol=1e-9)
