"""Families that are faster than torch's own are otherwise the same."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from pyrovae import distributions


def low_rank(kind: type) -> dist.TorchDistribution:
    torch.manual_seed(1)
    loc, factor = torch.randn(4, 5).double(), torch.randn(4, 5, 2).double()
    return kind(loc, factor, torch.rand(4, 5).double() + 0.1)


def full_rank(kind: type) -> dist.TorchDistribution:
    torch.manual_seed(1)
    loc, factor = torch.randn(4, 5).double(), torch.randn(4, 5, 5).double().tril(-1)
    return kind(loc, scale_tril=factor + torch.eye(5).double())


def student(kind: type) -> dist.TorchDistribution:
    torch.manual_seed(1)
    df = torch.tensor([2.5, 4.0, 9.0]).double()
    return kind(df, torch.randn(4, 3).double(), torch.tensor(0.5).double())


PAIRS: dict[str, Callable[[], tuple[dist.TorchDistribution, dist.TorchDistribution]]] = {
    "LowRankMultivariateNormal": lambda: (
        low_rank(distributions.LowRankMultivariateNormal),
        low_rank(dist.LowRankMultivariateNormal),
    ),
    "MultivariateNormal": lambda: (
        full_rank(distributions.MultivariateNormal),
        full_rank(dist.MultivariateNormal),
    ),
    "StudentT": lambda: (
        student(distributions.StudentT),
        student(dist.StudentT),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("expanded", [False, True])
def test_densities_moments_and_draws_are_those_of_torch(name: str, expanded: bool) -> None:
    own, torchs = PAIRS[name]()
    if expanded:
        shape = (3, *own.batch_shape)
        own, torchs = own.expand(shape), torchs.expand(shape)
    assert own.batch_shape == torchs.batch_shape and own.event_shape == torchs.event_shape
    assert type(own).__name__ == type(torchs).__name__ == name
    draws = []
    for fn in (own, torchs):
        torch.manual_seed(2)
        draws.append(fn.rsample((6,)))
    torch.testing.assert_close(*draws, rtol=1e-10, atol=1e-12)
    for found in ("mean", "variance", "entropy", "covariance_matrix", "scale_tril"):
        if hasattr(torchs, found):
            first, second = (getattr(fn, found) for fn in (own, torchs))
            both = (first(), second()) if callable(first) else (first, second)
            torch.testing.assert_close(*both, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        own.log_prob(draws[0]), torchs.log_prob(draws[0]), rtol=1e-10, atol=0
    )


def test_divergences_are_those_of_torch() -> None:
    own, torchs = PAIRS["LowRankMultivariateNormal"]()
    p = dist.Normal(torch.zeros(5).double(), torch.ones(5).double()).to_event(1)
    torch.testing.assert_close(kl_divergence(own, p), kl_divergence(torchs, p), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", PAIRS)
def test_arguments_are_still_looked_at(name: str) -> None:
    wrong = torch.full((2,), -1.0)
    with pytest.raises(ValueError, match="Expected parameter"):
        if name == "StudentT":
            distributions.StudentT(wrong, wrong, wrong, validate_args=True)
        else:
            kind = distributions.LowRankMultivariateNormal
            kind(wrong, torch.ones(2, 1), wrong, validate_args=True)
