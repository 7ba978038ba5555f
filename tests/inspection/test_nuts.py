"""Many chains of the No-U-Turn sampler at once, against Normals that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrovae.inspection import nuts
from pyrovae.inspection.mcmc import Chains
from tests.support.tables import Z_LIMIT

pytestmark = pytest.mark.slow

CHAINS, SIZE = 6, 2


class Normals:
    """A Normal for each of `CHAINS` chains, in turn, and how often they were asked for."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.loc = 3 * torch.randn(CHAINS, SIZE, generator=generator).double()
        roots = torch.randn(CHAINS, SIZE, SIZE, generator=generator).double()
        self.covariance = roots @ roots.mT + 0.3 * torch.eye(SIZE).double()
        self.precision = torch.linalg.inv(self.covariance)
        self.calls = 0

    def __call__(self, z: Tensor, chains: Tensor) -> Tensor:
        self.calls += 1
        off = (z - self.loc[chains % CHAINS]).unsqueeze(-1)
        return (off.mT @ self.precision[chains % CHAINS] @ off).flatten() / 2


def drawn(
    potential: nuts.Potential, warmup: int, num_samples: int, depth: int, copies: int = 1
) -> nuts.Drawn:
    torch.manual_seed(0)
    starts = torch.randn(copies * CHAINS, SIZE).double()
    return nuts.draw(potential, starts, warmup=warmup, num_samples=num_samples, tree_depth=depth)


def effective(values: np.ndarray) -> np.ndarray:
    """Effective draws of chains `(C, S, D)` of one distribution, between 20 and C S."""
    found = Chains(["a", "b"], values, values[0], [1.0], [0]).effective_draws
    return np.clip(found, 20, values.shape[0] * values.shape[1])


@pytest.mark.parametrize("warmup", [60, 160], ids=["fixed scales", "learned scales"])
def test_each_chain_draws_from_its_own_normal(warmup: int) -> None:
    """One false alarm in some 4,000 at six chains of two dimensions: see `Z_LIMIT`."""
    normals, copies = Normals(), 8
    found = drawn(normals, warmup, 75, 3, copies)
    assert found.values.shape == (copies * CHAINS, 75, SIZE) and not found.divergences.any()
    assert (found.moved > 0.8).all()
    for values, loc, covariance in zip(
        found.values.unflatten(0, (copies, CHAINS)).transpose(0, 1).numpy(),
        normals.loc.numpy(),
        normals.covariance.numpy(),
        strict=True,
    ):
        sd, mean = np.sqrt(covariance.diagonal()), values.mean((0, 1))
        assert (abs(mean - loc) < Z_LIMIT * sd / np.sqrt(effective(values))).all()
        relative = 1 / np.sqrt(2 * effective(np.square(values - mean)))
        assert (abs(values.std((0, 1)) / sd - 1) < Z_LIMIT * relative).all()


def test_a_density_that_is_no_normal_is_drawn_from_without_bias() -> None:
    r"""Of $e^{-z^4 / 4}$ the mean square is $2 \Gamma(3/4) / \Gamma(1/4)$."""
    torch.manual_seed(0)
    starts = torch.randn(1000, SIZE)
    found = nuts.draw(
        lambda z, chains: (z**4).sum(-1) / 4, starts, warmup=40, num_samples=40, tree_depth=3
    )
    squares = found.values.double().square().mean((1, 2))
    error = float(squares.std() / math.sqrt(len(squares)))
    expected = 2 * math.gamma(3 / 4) / math.gamma(1 / 4)
    assert error < 0.01 and abs(float(squares.mean()) - expected) < Z_LIMIT * error


def test_leaving_out_chains_that_are_done_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    found = drawn(Normals(), 15, 20, 4)
    begin = nuts._Field.__init__

    def whole(field: nuts._Field, *args: object) -> None:
        begin(field, *args)  # type: ignore[arg-type]
        field.spares = False

    monkeypatch.setattr(nuts._Field, "__init__", whole)
    again = drawn(Normals(), 15, 20, 4)
    assert torch.allclose(found.values, again.values, rtol=1e-9)


def test_all_chains_share_the_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.inspection.tracing.OFTEN", 10**9)
    normals = Normals()
    drawn(normals, 10, 20, 3)
    assert normals.calls <= 1 + nuts.SEARCHES + 30 * 7


def test_subtrees_that_turn_back_are_found_as_by_recursion() -> None:
    """Of each balanced subtree that ends at a place, and of no other points."""
    torch.manual_seed(0)
    inverse_mass, turned = torch.ones(64, SIZE), 0
    momenta = torch.randn(16, 64, SIZE) + torch.tensor([0.6, 0.0])
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    total = torch.zeros(64, SIZE)
    for place, momentum in enumerate(momenta):
        total = total + momentum
        found = nuts._turns_back(kept, place, momentum, total, inverse_mass)
        expected = torch.zeros(64, dtype=torch.bool)
        for level in range(1, 5):
            if (place + 1) % 2**level == 0:
                part = momenta[place + 1 - 2**level : place + 1]
                ends = part[0], part[-1]
                expected |= nuts._turning(*ends, part.sum(0), inverse_mass)
        assert torch.equal(found, expected)
        turned += int(found.sum())
    assert 0 < turned < 16 * 64


def test_a_cliff_is_told_and_never_stepped_over() -> None:
    def cliff(z: Tensor, chains: Tensor) -> Tensor:
        return torch.where(z[:, 0] > 0.5, torch.inf, z.square().sum(-1) / 2)

    torch.manual_seed(0)
    starts = torch.full((CHAINS, SIZE), -1.0)
    found = nuts.draw(cliff, starts, warmup=20, num_samples=40, tree_depth=4)
    assert found.divergences.sum() > 0 and (found.values[..., 0] <= 0.5).all()
