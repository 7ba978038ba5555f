"""Paths through the latents, against geometry, and moves on supports of all kinds."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae import InputError, ModelGuidePair, Normal
from pyrovae.inspection.traversals import (
    _allowed,
    along,
    effects,
    linear_path,
    moved_and_shown,
    prior_sites,
    show_within,
    spherical_path,
    within_support,
)
from pyrovae.posterior.space import LatentSpace
from tests.support.oracles import LinearGaussian
from tests.support.programs import TRAINED
from tests.support.small import small_data
from tests.support.tables import make_images, make_vae

PAIRS = torch.randn(20, 2, 6, generator=torch.manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("path", [linear_path, spherical_path])
def test_paths_end_where_they_should_in_even_steps(path: type) -> None:
    for first, second in PAIRS:
        found = path(first, second, 7)
        assert torch.allclose(found[[0, -1]], torch.stack([first, second]))
        lengths = found.diff(dim=0).norm(dim=1) if path is linear_path else found.norm(dim=1)
        assert torch.allclose(lengths.diff(), lengths.diff()[:1].expand(len(lengths) - 1))


def test_an_arc_between_unit_vectors_stays_on_the_sphere_at_a_steady_pace() -> None:
    for first, second in nn.functional.normalize(PAIRS, dim=-1):
        found = spherical_path(first, second, 9)
        assert torch.allclose(found.norm(dim=1), torch.ones(9).double())
        turns = (found[1:] * found[:-1]).sum(1).clamp(-1, 1).acos()
        whole = (first @ second).acos()
        assert torch.allclose(turns, (whole / 8).expand(8), atol=1e-6)


def test_the_arc_is_that_of_the_formula() -> None:
    for first, second in PAIRS:
        lengths = first.norm(), second.norm()
        u, v = first / lengths[0], second / lengths[1]
        omega, t = (u @ v).acos(), 0.3
        direction = (((1 - t) * omega).sin() * u + (t * omega).sin() * v) / omega.sin()
        expected = ((1 - t) * lengths[0] + t * lengths[1]) * direction
        assert torch.allclose(spherical_path(first, second, 11)[3], expected)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_arcs_between_special_points_are_finite(size: int) -> None:
    point = torch.randn(size).double()
    same, to_zero = spherical_path(point, point, 5), spherical_path(point, 0 * point, 5)
    assert torch.allclose(same, point.expand(5, -1))
    assert torch.allclose(to_zero, linear_path(point, 0 * point, 5))
    assert torch.equal(spherical_path(0 * point, 0 * point, 3), torch.zeros(3, size).double())
    around = spherical_path(point, -point, 5)
    assert torch.allclose(around[[0, -1]], torch.stack([point, -point]))
    if size > 1:
        assert torch.allclose(around.norm(dim=1), point.norm().expand(5))


@pytest.mark.parametrize("path", [linear_path, spherical_path])
@pytest.mark.parametrize("steps", [1, 0, -3])
def test_a_path_has_two_ends(path: type, steps: int) -> None:
    with pytest.raises(InputError, match=f"^steps must be at least 2, got {steps}$"):
        path(torch.zeros(2), torch.ones(2), steps)


def test_one_dimension_moves_and_the_others_stay() -> None:
    z = torch.randn(3, 5)
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = along(z, [4, 0], values)
    assert found.shape == (2, 2, 3, 5)
    for row, dim in enumerate([4, 0]):
        for step in range(2):
            expected = z.clone()
            expected[:, dim] = values[row, step]
            assert torch.equal(found[row, step], expected)


@pytest.mark.parametrize("dim", [-1, 5])
def test_there_is_no_such_dimension(dim: int) -> None:
    with pytest.raises(InputError, match=f"no latent dimension {dim}: allowed is 0 to 4$"):
        along(torch.zeros(5), [dim], torch.zeros(1, 2))


@pytest.mark.slow
@torch.no_grad()
def test_the_effect_of_a_dimension_is_a_column_of_the_weight() -> None:
    oracle = LinearGaussian(latent_dim=3)
    # Small, so that no pixel leaves [0, 1].
    vae = oracle.vae()
    vae.model.decoder.weight.mul_(0.01)
    vae.model.decoder.bias.fill_(0.5)
    space = LatentSpace(vae, {"z": torch.Size([3])})
    low, high = np.array([-1.0, 0.0, -2.0]), np.array([1.0, 1.0, 2.0])
    found = effects(space, torch.randn(4, 3).double(), range(3), low, high)
    columns = 0.01 * oracle.weight.numpy()
    expected = 255 * (high - low) * np.sqrt(np.square(columns).mean(0))
    assert list(found.index) == ["z[0]", "z[1]", "z[2]"]
    assert found["change"].to_numpy() == pytest.approx(expected)
    some = effects(space, torch.randn(4, 3).double(), [2], low[2:], high[2:])
    assert some["change"]["z[2]"] == pytest.approx(expected[2])


class Bounded(PyroModule):
    """Latents in an interval, above 0, and anywhere."""

    def __init__(self) -> None:
        super().__init__("bounded")
        self.decoder, self.likelihood = nn.Linear(5, 12), Normal(0.1)

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            u = pyro.sample("u", dist.Uniform(-1.0, torch.full((2,), 2.0)).to_event(1))
            g = pyro.sample("g", dist.Gamma(torch.ones(2), 1.0).to_event(1))
            s = pyro.sample("s", dist.Normal(0.0, 1.0))
            maps = self.decoder(torch.cat([u, g, s[..., None]], -1)).unflatten(-1, (3, 2, 2))
            return pyro.sample("x", self.likelihood(maps), obs=x)


class OneSite(nn.Module):
    """A model whose latents have a given prior."""

    def __init__(self, prior: dist.TorchDistribution, size: int) -> None:
        super().__init__()
        self.prior, self.likelihood = prior, Normal(0.1)
        self.decoder = nn.Linear(size, 12)

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            z = pyro.sample("z", self.prior)
            maps = self.decoder(z).unflatten(-1, (3, 2, 2))
            return pyro.sample("x", self.likelihood(maps), obs=x)


@torch.no_grad()
def test_bounds_are_kept_and_what_is_free_is_left_alone() -> None:
    model = Bounded()
    programs = ModelGuidePair(model, nn.Identity(), model.likelihood)
    space = LatentSpace(
        programs, {"u": torch.Size([2]), "g": torch.Size([2]), "s": torch.Size([])}
    )
    z = torch.tensor([[[-5.0, 0.5, -3.0, 2.0, -7.0], [0.0, 9.0, 1.0, 1.0, 7.0]]])
    found = within_support(space, z)
    expected = torch.tensor([[[-1.0, 0.5, 0.0, 2.0, -7.0], [0.0, 2.0, 1.0, 1.0, 7.0]]])
    assert torch.allclose(found, expected, atol=1e-5)
    assert all(
        fn.support.check(space.unflatten(found)[name]).all()
        for name, fn in prior_sites(space, found).items()
    )
    assert torch.equal(show_within(space, z), space.show(found))


@pytest.mark.parametrize(
    ("prior", "size"),
    [
        (dist.Dirichlet(torch.ones(4)), 4),
        (dist.Dirichlet(torch.ones(4000)), 4000),
        (dist.Pareto(torch.full((3,), 100.0), 2.0).to_event(1), 3),
        (dist.Uniform(-300.0, torch.full((2,), -50.0)).to_event(1), 2),
        (dist.VonMises(torch.zeros(2), 1.0).to_event(1), 2),
    ],
    ids=str,
)
@torch.no_grad()
def test_moved_latents_are_in_the_support(prior: dist.TorchDistribution, size: int) -> None:
    model = OneSite(prior, size)
    space = LatentSpace(
        ModelGuidePair(model, nn.Identity(), model.likelihood), {"z": prior.shape()}
    )
    found = within_support(space, 300 * torch.randn(6, 5, size))
    if size < 1000:  # The check of probabilities allows no more rounding than that of a few.
        assert prior.support.check(found).all()
    else:
        assert (found >= 0).all() and torch.allclose(found.sum(-1), torch.ones(()))
    inside = prior.sample((6, 5))
    assert torch.allclose(within_support(space, inside), inside, atol=1e-6)


@pytest.mark.parametrize("bound", [3.0, 100.0, -50.0])
def test_an_open_bound_is_not_reached(bound: float) -> None:
    """Beside a large number, the least step of a float is larger than beside 1."""
    for support in (constraints.greater_than(bound), constraints.less_than(bound)):
        found = _allowed(support, torch.tensor([-200.0, 200.0, bound]))
        assert support.check(found).all() and (found - bound).abs().min() < 1e-4


@torch.no_grad()
def test_on_a_sphere_latents_are_set_to_length_1() -> None:
    vae = make_vae(prior="HypersphericalUniform", posterior="VonMisesFisher")
    size = vae.model.prior.latent_dim
    space = LatentSpace(vae, {"z": torch.Size([size])})
    z = 3 * torch.randn(4, 2, size)
    found = within_support(space, z)
    assert torch.allclose(found, nn.functional.normalize(z, dim=-1))
    assert torch.equal(within_support(space, found), found)
    assert torch.equal(show_within(space, z), space.show(found))


@pytest.mark.parametrize("name", TRAINED)
@torch.no_grad()
def test_any_leading_dimensions_are_shown_in_pieces(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, split = TRAINED[name](), small_data(num_test=3).split("test")
    columns = split.table()[list(programs.attributes)].to_numpy()
    inputs = programs.inputs(torch.tensor(columns))
    x = programs.observe(torch.from_numpy(split.images.copy()))
    space = LatentSpace.of(programs, x, **inputs)
    z = torch.randn(2, 5, 3, space.size)
    whole = show_within(space, z, **inputs)
    assert whole.shape == (2, 5, 3, 3, 16, 16)
    assert torch.allclose(whole, space.show(z, **inputs), atol=1e-6)
    assert torch.allclose(show_within(space, z[0, 0], **inputs), whole[0, 0], atol=1e-6)
    monkeypatch.setattr("pyrovae.inspection.traversals.AT_ONCE", 4)
    assert torch.allclose(show_within(space, z, **inputs), whole, atol=1e-6)


def test_half_way_between_orthogonal_draws_the_line_is_short_by_root_2() -> None:
    first, second = torch.eye(2).double()
    straight, arc = linear_path(first, second, 3)[1], spherical_path(first, second, 3)[1]
    assert float(arc.norm() / straight.norm()) == pytest.approx(math.sqrt(2))


def test_latents_are_moved_without_decoding_and_shown_with_one_pass() -> None:
    vae = make_vae(prior="HypersphericalUniform", posterior="VonMisesFisher")
    space, calls = LatentSpace.of(vae, make_images(vae.likelihood, 2) / 255), []
    vae.model.decoder.register_forward_hook(lambda *call: calls.append(call))
    z = 3 * torch.randn(5, space.size)
    moved = within_support(space, z)
    assert not calls and torch.allclose(moved.norm(dim=1), torch.ones(5))
    both = moved_and_shown(space, z)
    assert torch.equal(both[0], moved) and torch.equal(both[1], show_within(space, z))
    calls.clear()
    assert torch.allclose(moved_and_shown(space, moved)[0], moved) and len(calls) == 1
