"""The invertible maps of flow priors."""

from __future__ import annotations

import math
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovae.distributions import RationalSpline
from pyrovae.priors import FlowPrior, NeuralSpline, RealNVP
from tests.support.tables import DTYPES, FLOWS, shake

every_flow = pytest.mark.parametrize("flow", FLOWS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def flow_of(name: str, dim: int, dtype: torch.dtype = torch.float64) -> dist.TorchDistribution:
    prior = FlowPrior(dim, FLOWS[name])
    shake(prior, 0.3)
    return prior.to(dtype)()


@every_flow
@pytest.mark.parametrize("dim", [2, 3, 6])
@every_dtype
@torch.no_grad()
def test_a_flow_back_and_forth_is_the_identity(flow: str, dim: int, dtype: torch.dtype) -> None:
    """Also outside of where a spline bends."""
    x = 3 * torch.randn(50, dim, dtype=dtype)
    y = x
    transforms = flow_of(flow, dim, dtype).transforms
    for transform in transforms:
        y = transform(y)
    back = y.clone()  # a new tensor, so that no flow remembers what it comes from
    for transform in reversed(transforms):
        back = transform.inv(back).clone()
    assert torch.allclose(back, x, atol=1e-9 if dtype == torch.float64 else 2e-3)
    assert ((y - x).abs() > 1e-3).any(0).all(), "some dimension never changes"


@pytest.mark.slow
@every_flow
@pytest.mark.parametrize("dim", [2, 3, 6])
def test_the_log_determinant_of_a_flow_is_that_of_its_jacobian(flow: str, dim: int) -> None:
    p = flow_of(flow, dim)
    for x in torch.randn(5, dim, dtype=torch.float64):
        for transform in p.transforms:
            jacobian = torch.autograd.functional.jacobian(transform, x)
            expected = torch.linalg.slogdet(jacobian).logabsdet
            y = transform(x)
            remembered = transform.log_abs_det_jacobian(x, y)
            transform(torch.randn_like(x))
            for found in (remembered, transform.log_abs_det_jacobian(x, y)):
                assert found.item() == pytest.approx(expected.item(), abs=1e-9)
            x = y.detach()


@every_flow
def test_gradients_reach_a_flow_through_draws_and_through_values(flow: str) -> None:
    for value in ("draw", "value"):
        prior = FlowPrior(3, FLOWS[flow])
        p = prior()
        z = p.rsample((50,)) if value == "draw" else 2 * torch.randn(50, 3)
        (p.log_prob(z) + z.square().sum(-1)).sum().backward()
        for name, parameter in prior.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_flow_prior_makes_the_flow_it_is_given() -> None:
    prior = FlowPrior(4, partial(NeuralSpline, num_layers=3, num_bins=5))
    assert isinstance(prior.flow, NeuralSpline) and prior.flow.dim == 4
    assert prior.flow.num_bins == 5 and len(prior.flow.layers) == 3


def spline(
    size: float, count: int = 200, bins: int = 8, dtype: torch.dtype = torch.float64
) -> RationalSpline:
    """Splines of raw parameters of that size; those of both types are the same."""
    raw = (size * torch.randn(count, n, dtype=torch.float64) for n in (bins, bins, bins - 1, bins))
    return RationalSpline(*(values.to(dtype) for values in raw), bound=5.0)


SIZES = [0.0, 1.0, 10.0, math.inf]
every_size = pytest.mark.parametrize("size", SIZES)


def ends(count: int = 200) -> Tensor:
    """Numbers within and outside of the bounds, for each spline."""
    return torch.linspace(-7, 7, count, dtype=torch.float64)


@every_size
def test_a_spline_rises_from_bound_to_bound_and_leaves_the_rest(size: float) -> None:
    x = torch.linspace(-6, 6, 2001, dtype=torch.float64)[:, None]
    y, log_slope = spline(size, 20)(x.expand(-1, 20))
    outside = (x.abs() >= 5).expand_as(y)
    assert torch.equal(y[outside], x.expand_as(y)[outside]) and (log_slope[outside] == 0).all()
    assert (y.diff(dim=0) > 0).all() and y[~outside].abs().max() < 5


@every_size
def test_the_slope_of_a_spline_is_its_derivative_and_has_no_jumps(size: float) -> None:
    s, x = spline(size), ends().requires_grad_()
    y, log_slope = s(x)
    (derivative,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(derivative.log(), log_slope, atol=1e-9)
    knots = s._x.cumsum(-1).detach()[:, :-1] - 5
    below, above = (s(knots.T + step)[1] for step in (-1e-9, 1e-9))
    assert torch.allclose(below, above, atol=1e-4)


@every_size
@every_dtype
def test_the_inverse_of_a_spline_is_its_inverse(size: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    s = spline(size, dtype=dtype)
    x = ends().to(dtype)
    y, log_slope = s(x)
    back, negative = s.inverse(y)
    error = 1e-9 if dtype == torch.float64 else 5e-3
    assert torch.allclose(back, x, atol=error)
    assert torch.allclose(negative, -log_slope, atol=4 * error)


def test_slopes_between_bins_are_beside_the_geometric_mean_of_theirs() -> None:
    widths, heights, slopes, splits = numbers = [torch.randn(50, n).double() for n in (4, 4, 3, 4)]
    size, height = ((1.5 * torch.tanh(raw / 1.5)).softmax(-1) for raw in (widths, heights))
    log_slope = (height / size).log()
    expected = (log_slope[:, 1:] + log_slope[:, :-1]) / 2 + slopes.tanh()
    knots = 10 * size.cumsum(-1)[:, :-1] - 5
    found = [RationalSpline(*numbers, bound=5.0)(at)[1] for at in knots.T]
    assert torch.allclose(torch.stack(found, -1), expected)


def test_a_spline_without_parameters_is_the_identity() -> None:
    y, log_slope = spline(0.0)(ends())
    assert torch.allclose(y, ends()) and torch.allclose(log_slope, torch.zeros(200).double())


@every_dtype
@pytest.mark.parametrize("size", [0.0, 1e30, math.inf])
def test_no_input_makes_a_spline_nan(size: float, dtype: torch.dtype) -> None:
    raw = [
        (size * torch.randn(6, n, dtype=dtype)).nan_to_num(0, size, -size) for n in (4, 4, 3, 4)
    ]
    x = torch.tensor([0.0, 5.0, -5.0, 5.1, 1e30, -1e30], dtype=dtype)
    for parameter in (x, *raw):
        parameter.requires_grad_()
    s = RationalSpline(*raw, bound=5.0)
    found = [value for both in (s(x), s.inverse(x)) for value in both]
    sum(value.sum() for value in found).backward()
    assert all(value.isfinite().all() for value in found)
    for parameter in (x, *raw):
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@every_flow
@pytest.mark.parametrize("latent_dim", [2, 16, 128])
@torch.no_grad()
def test_single_precision_suffices_for_a_flow_that_has_its_default_sizes(
    flow: str, latent_dim: int
) -> None:
    prior = FlowPrior(latent_dim, {"RealNVP": RealNVP, "NeuralSpline": NeuralSpline}[flow])
    z = 2 * torch.randn(200, latent_dim)
    found = prior().log_prob(z)
    expected = prior.double()().log_prob(z.double())
    assert torch.allclose(found.double(), expected, atol=1e-4 * latent_dim)
