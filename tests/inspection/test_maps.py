"""Maps against other implementations, grids against the prior's own quantiles."""

from __future__ import annotations

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from sklearn.decomposition import PCA

from pyrovae import InputError
from pyrovae.inspection.maps import (
    latent_grid,
    neighbour_map,
    principal_map,
    prior_quantiles,
    trustworthiness,
)
from pyrovae.posterior.space import LatentSpace
from tests.support.oracles import LinearGaussian
from tests.support.programs import MAKERS
from tests.support.tables import LATENT_DIM, PRIORS, make_vae

CODES = np.random.default_rng(0).normal(size=(60, 5)) * [3, 2, 1, 1, 1]


def test_components_are_those_of_scikit_learn_up_to_their_sign() -> None:
    found, shares = principal_map(CODES)
    model = PCA(2).fit(CODES)
    expected = model.transform(CODES)
    signs = np.sign((found * expected).sum(0))
    assert found == pytest.approx(expected * signs)
    assert shares == pytest.approx(model.explained_variance_ratio_)
    turned, _ = principal_map(-CODES)
    assert turned == pytest.approx(-found)


@pytest.mark.parametrize("codes", [CODES[:2], CODES[:, :1], np.zeros((5, 3))])
def test_what_has_no_components_is_refused(codes: np.ndarray) -> None:
    with pytest.raises(InputError, match="map"):
        principal_map(codes)


@pytest.fixture
def without_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.slow
@pytest.mark.usefixtures("without_umap")
def test_groups_that_are_far_apart_stay_apart_on_the_map() -> None:
    group = np.arange(60) % 3
    codes = CODES + 40 * np.eye(5)[group]
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    found, name = neighbour_map(codes)
    assert name == "t-SNE" and found.shape == (60, 2)
    assert np.array_equal(found, neighbour_map(codes)[0])
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]
    apart = np.linalg.norm(found[:, None] - found, axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (group[apart.argmin(1)] == group).all()
    assert trustworthiness(codes, found) > 0.8


@pytest.mark.usefixtures("without_umap")
def test_few_images_are_mapped_and_fewer_are_refused() -> None:
    assert neighbour_map(CODES[:10])[0].shape == (10, 2)
    with pytest.raises(InputError, match="needs at least 10 images, got 9"):
        neighbour_map(CODES[:9])


def test_umap_is_used_where_it_is_installed() -> None:
    pytest.importorskip("umap")
    found, name = neighbour_map(CODES)
    assert name == "UMAP" and np.isfinite(found).all()
    assert np.array_equal(found, neighbour_map(CODES)[0])
    assert not np.array_equal(found, neighbour_map(CODES, seed=1)[0])


def test_trust_is_whole_in_truth_and_half_by_chance() -> None:
    assert trustworthiness(CODES[:, :2], CODES[:, :2]) == 1
    shuffled = np.random.default_rng(1).normal(size=(500, 2))
    codes = np.random.default_rng(2).normal(size=(500, 2))
    assert trustworthiness(codes, shuffled) == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
def test_quantiles_of_a_normal_prior_are_exact() -> None:
    vae = LinearGaussian().vae()
    space = LatentSpace(vae, {"z": torch.Size([2])})
    shares = torch.tensor([0.05, 0.5, 0.95])
    found = prior_quantiles(space, shares, torch.randn(50, 2).double())
    expected = dist.Normal(0.0, 1.0).icdf(shares.double())
    assert torch.allclose(found, expected[:, None].expand(3, 2))


@pytest.mark.parametrize("prior", PRIORS)
@torch.no_grad()
def test_any_prior_has_quantiles_that_its_draws_lie_under(prior: str) -> None:
    torch.manual_seed(0)
    posterior = "VonMisesFisher" if prior == "HypersphericalUniform" else "DiagonalNormal"
    vae = make_vae(prior=prior, posterior=posterior).eval()
    space = LatentSpace(vae, {"z": torch.Size([LATENT_DIM])})
    shares = torch.tensor([0.2, 0.7])
    found = prior_quantiles(space, shares, space.prior_draws(2000))
    under = (space.prior_draws(2000)[:, None] < found).double().mean(0)
    # Both draws and quantiles of 2,000: a deviation of at most 0.015 each.
    assert torch.allclose(under, shares.double()[:, None].expand_as(under), atol=0.07)


@torch.no_grad()
def test_a_site_that_depends_on_another_has_the_quantiles_of_its_draws() -> None:
    programs = MAKERS["two latents"]()
    programs.model.prior_net.weight.mul_(10)
    space = LatentSpace(programs, {"z1": torch.Size([3]), "z2": torch.Size([2])})
    draws = space.prior_draws(500)
    shares = torch.tensor([0.1, 0.9])
    found = prior_quantiles(space, shares, draws)
    assert torch.allclose(found[:, :3], torch.quantile(draws[:, :3], shares, dim=0))
    expected = dist.Normal(0.0, 1.0).icdf(shares)
    assert torch.allclose(found[:, 3:], expected[:, None].expand(2, 2))


@pytest.mark.slow
@torch.no_grad()
def test_the_corners_of_the_grid_are_the_ends_of_the_quantiles() -> None:
    vae = LinearGaussian().vae()
    space = LatentSpace(vae, {"z": torch.Size([2])})
    quantiles = torch.tensor([[-2.0, -1.0], [0.0, 0.5], [1.0, 3.0]]).double()
    found = latent_grid(space, quantiles)
    assert found.shape == (3, 3, 2, 3, 2)
    corners = {
        (0, 0): (-2, 3),
        (0, 2): (1, 3),
        (2, 0): (-2, -1),
        (2, 2): (1, -1),
        (1, 1): (0, 0.5),
    }
    for (row, column), z in corners.items():
        expected = space.show(torch.tensor([z]).double())[0]
        assert torch.allclose(found[row, column], expected)


@pytest.mark.slow
def test_a_grid_has_two_dimensions() -> None:
    space = LatentSpace(LinearGaussian().vae(), {"z": torch.Size([3])})
    with pytest.raises(InputError, match="^a grid needs 2 latent dimensions, got 3$"):
        latent_grid(space, torch.zeros(4, 3))
