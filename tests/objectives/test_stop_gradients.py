from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from torch import Tensor, nn

from pyrovae.objectives import stop_gradients
from tests.support.tables import POSTERIORS, PRIORS, call, make_vae, shake, without_guide

Made = tuple[Any, list[Tensor]]


def leaf(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def of_posterior(name: str) -> Made:
    posterior = POSTERIORS[name]().double()
    shake(posterior)
    h = leaf(5, posterior.num_params)
    return posterior(h), [h, *posterior.parameters()]


def of_prior(name: str) -> Made:
    prior, guide = without_guide(PRIORS[name]()), make_vae().guide
    prior.use_guide(guide.double())
    shake(prior)
    parameters = [*prior.double().parameters()]
    if prior.uses_guide:
        parameters += guide.parameters()
    return prior(), parameters


def normal() -> Made:
    loc, scale = leaf(5, 3), leaf(5, 3)
    return dist.Normal(loc, scale.exp()).to_event(1), [loc, scale]


def expanded() -> Made:
    fn, parameters = normal()
    return fn.expand((2, 5)).mask(torch.rand(2, 5) < 0.5), parameters


def mixture() -> Made:
    logits, loc = leaf(4), leaf(4, 3)
    parts = dist.Normal(loc, 1.0).to_event(1)
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), parts), [logits, loc]


def chain() -> Made:
    fn, parameters = normal()
    affine = transforms.AffineTransform(leaf(3), leaf(3).exp(), event_dim=1, cache_size=1)
    one, other = (transforms.affine_coupling(3, hidden_dims=[8]).double() for _ in range(2))
    maps = transforms.ComposeTransform([affine, transforms.LeakyReLUTransform(cache_size=1)])
    flow = dist.TransformedDistribution(fn, [one, maps, other.inv])
    return flow, [*parameters, affine.loc, *one.parameters(), *other.parameters()]


def coupling() -> Made:
    flow = transforms.spline_coupling(4, hidden_dims=[8], count_bins=4).double()
    loc = leaf(5, 4)
    base = dist.Normal(loc, 1.0).to_event(1)
    return dist.TransformedDistribution(base, [flow]), [loc, *flow.parameters()]


class Written(dist.TorchDistribution):
    """A density with a network of its own, as a user may write it, one tensor held twice."""

    arg_constraints: dict[str, Any] = {}
    support = dist.constraints.real_vector

    def __init__(self, loc: Tensor, network: nn.Module) -> None:
        self.loc, self.again, self.held = loc, loc, {"network": [network]}
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.loc + torch.randn(sample_shape + self.loc.shape, dtype=self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        gap = self.held["network"][0](value - self.loc)
        return -gap.square().sum(-1) - self.again.abs().sum(-1)


def written() -> Made:
    loc, network = leaf(5, 3), nn.Linear(3, 3).double()
    return Written(loc, network), [loc, *network.parameters()]


def local() -> Made:
    """A class and a function without names in a module, which pickle alone refuses."""

    class Local(Written):
        def log_prob(self, value: Tensor) -> Tensor:
            return self.held["sharpen"](super().log_prob(value))

    loc, network = leaf(5, 3), nn.Linear(3, 3).double()
    fn = Local(loc, network)
    fn.held["sharpen"] = lambda log_prob: 2 * log_prob
    return fn, [loc, *network.parameters()]


def gradients_of(log_prob: Tensor, inputs: list[Tensor]) -> list[Any]:
    if not log_prob.requires_grad:
        return [None] * len(inputs)
    return list(torch.autograd.grad(log_prob.sum(), inputs, allow_unused=True))


MADE: dict[str, Callable[[], Made]] = {
    **{f"posterior {name}": lambda name=name: of_posterior(name) for name in POSTERIORS},
    **{f"prior {name}": lambda name=name: of_prior(name) for name in PRIORS},
    "Normal": normal,
    "expanded and masked": expanded,
    "mixture": mixture,
    "chain of maps": chain,
    "spline coupling": coupling,
    "hand-written": written,
    "hand-written in a function": local,
}
every_distribution = pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())


@every_distribution
@pytest.mark.parametrize("drawn", [True, False], ids=["its own draw", "another point"])
def test_the_density_is_the_same_with_a_gradient_in_z_alone(
    make: Callable[[], Made], drawn: bool
) -> None:
    fn, parameters = make()
    value = fn.rsample() if fn.has_rsample else fn.sample()
    z = value if drawn and value.requires_grad else value.detach().requires_grad_()
    constant = stop_gradients(fn)
    found, expected = constant.log_prob(z), fn.log_prob(z)
    assert torch.allclose(found, expected, rtol=1e-7, atol=1e-9)
    assert found.dtype == expected.dtype == torch.float64
    point = value.detach().requires_grad_()
    (in_z,) = gradients_of(fn.log_prob(point), [point])
    (given, *rest) = gradients_of(constant.log_prob(point), [point, *parameters])
    assert (in_z is None and given is None) or torch.allclose(given, in_z, rtol=1e-6, atol=1e-8)
    assert rest == [None] * len(parameters)
    assert type(constant) is type(fn)
    assert (constant.batch_shape, constant.event_shape) == (fn.batch_shape, fn.event_shape)


@every_distribution
def test_the_original_keeps_its_gradients_and_its_memory(make: Callable[[], Made]) -> None:
    fn, parameters = make()
    z = fn.sample()
    before = fn.log_prob(z)
    stop_gradients(fn).log_prob(z)
    after = fn.log_prob(z)
    assert torch.equal(before, after) and after.requires_grad == before.requires_grad
    if parameters:
        assert any(grad is not None for grad in gradients_of(after, parameters))
    assert all(p.requires_grad and p.grad is None for p in parameters)


@pytest.mark.parametrize("name", POSTERIORS)
def test_single_precision_is_kept(name: str) -> None:
    q = call(POSTERIORS[name]())
    z = q.sample()
    found = stop_gradients(q).log_prob(z)
    assert found.dtype == torch.float32 and torch.allclose(found, q.log_prob(z), atol=1e-4)


def test_draws_keep_their_own_gradient() -> None:
    """In a path gradient z comes from the original, and its gradient reaches the parameters."""
    fn, parameters = normal()
    stop_gradients(fn).log_prob(fn.rsample()).sum().backward()
    assert all(p.grad is not None for p in parameters)


def test_tensors_are_not_copied() -> None:
    loc = torch.zeros(3, requires_grad=True)
    constant = stop_gradients(dist.Normal(loc, 1.0))
    assert constant.loc.data_ptr() == loc.data_ptr() and constant.loc.is_leaf


def test_what_cannot_be_copied_is_named() -> None:
    fn = dist.Normal(0.0, 1.0)
    fn.lock = threading.Lock()
    with pytest.raises(ValueError, match="cannot copy the Normal: cannot pickle.*lock"):
        stop_gradients(fn)
