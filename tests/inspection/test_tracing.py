"""Functions that are traced once they are called often."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.inspection.tracing import OFTEN, SEEDS, Traced


def noisy(x: Tensor) -> tuple[Tensor, ...]:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = (x * torch.randn_like(x)).square().sum()
    return value.detach(), *torch.autograd.grad(value, x)


def test_draws_and_gradients_are_those_of_the_function() -> None:
    function = Traced(noisy)
    for recorded in (False, True):
        for _ in range(0 if not recorded else OFTEN):
            function(torch.ones(3))
        assert len(function._graphs) == recorded
        torch.manual_seed(1)
        found = function(torch.arange(3.0))
        torch.manual_seed(1)
        assert all(map(torch.equal, found, noisy(torch.arange(3.0))))


def test_tracing_draws_nothing() -> None:
    function, states = Traced(noisy), []
    for run in (function, noisy):
        torch.manual_seed(0)
        for _ in range(OFTEN + 1):
            run(torch.ones(3))
        states.append(torch.get_rng_state())
    assert function._graphs and torch.equal(*states)


def test_the_function_is_run_no_more_for_shapes_that_are_traced() -> None:
    calls: list[torch.Size] = []

    def doubled(x: Tensor) -> tuple[Tensor, ...]:
        calls.append(x.shape)
        return (2 * x,)

    function = Traced(doubled)
    for _ in range(2 * OFTEN):
        assert torch.equal(function(torch.ones(2))[0], 2 * torch.ones(2))
    assert len(calls) == OFTEN + len(SEEDS)
    assert torch.equal(function(torch.ones(3))[0], 2 * torch.ones(3)) and calls[-1] == (3,)


def test_what_reads_numbers_is_run_as_it_is() -> None:
    function = Traced(lambda x: (x if x.sum() > 0 else -x,))
    for sign in (1.0, -1.0):
        for _ in range(OFTEN):
            assert torch.equal(function(torch.full((2,), sign))[0], torch.ones(2))
