"""How wide the guide is, against closed forms on linear Gaussian VAEs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pyrovae import VAE, Engine, InputError, evaluate
from pyrovae.inspection.spread_sweep import FACTORS, sweep_spread
from tests.support.oracles import LinearGaussian
from tests.support.programs import TRAINED
from tests.support.small import small_data, small_vae
from tests.support.tables import Z_LIMIT, changed, make_vae, snapshot

CPU = Engine("cpu", "fp32")


class Linear(LinearGaussian):
    """The linear Gaussian VAE, over 8-bit images."""

    def uint8(self, count: int) -> Tensor:
        return torch.randint(0, 256, (count, *self.shape), dtype=torch.uint8)

    def beta_vae(self, beta: float) -> VAE:
        """With the guide that is the best one for a weight on the rate."""
        eye, data = torch.eye(len(self.covariance)).double(), self.weight.T @ self.weight
        self.covariance = torch.linalg.inv(eye + data / self.sigma**2 / beta)
        return self.vae()


def images(linear: Linear, count: int = 400) -> object:
    return linear.uint8(count).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("inflation", [0.4, 1.0, 2.0])
def test_the_best_factor_undoes_an_inflation(inflation: float) -> None:
    linear = Linear(latent_dim=3)
    _, found = sweep_spread(linear.vae(inflation=inflation), images(linear), CPU, num_draws=5)
    off = found.factor - inflation**-0.5
    assert abs(off) <= Z_LIMIT * found.factor_error and found.factor_error < 0.05
    gain = 3 / 2 * (inflation - 1 - math.log(inflation))
    assert found.gain == pytest.approx(gain, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("inflation", [400.0, 0.003])
def test_a_best_factor_beyond_those_given_is_found(inflation: float) -> None:
    linear, draws = Linear(orthogonal=True, latent_dim=3), 20
    vae, some = linear.vae(inflation=inflation), images(linear)
    table, found = sweep_spread(vae, some, CPU, num_draws=draws)
    assert abs(found.factor - inflation**-0.5) <= Z_LIMIT * found.factor_error
    assert found.factor_error < 0.05 * found.factor
    gain = 3 / 2 * (inflation - 1 - math.log(inflation))
    assert found.gain == pytest.approx(gain, rel=0.03)
    assert table.index.is_monotonic_increasing and set(FACTORS) < set(table.index)
    assert table.index[0] < found.factor < table.index[-1]
    _, near = sweep_spread(vae, some, CPU, num_draws=draws, widest=1)
    assert near.factor == (0.5 if inflation > 1 else 2.0) and math.isnan(near.factor_error)


@pytest.mark.slow
def test_factors_that_are_added_share_the_draws() -> None:
    linear = Linear(latent_dim=2)
    vae, some = linear.vae(inflation=16.0), images(linear)
    table, _ = sweep_spread(vae, some, CPU)
    whole, _ = sweep_spread(vae, some, CPU, factors=tuple(table.index))
    assert len(table) > len(FACTORS) and table.equals(whole)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.25, 1.0, 4.0])
def test_the_weight_of_the_rate_is_read_from_the_spread(beta: float) -> None:
    linear = Linear(latent_dim=3, sigma=2.0)
    _, found = sweep_spread(linear.beta_vae(beta), images(linear), CPU, num_draws=20)
    assert abs(found.effective_beta - beta) <= Z_LIMIT * found.error
    assert found.error < 0.1 * beta


@pytest.mark.slow
def test_each_factor_has_its_closed_form() -> None:
    linear = Linear(latent_dim=2)
    table, _ = sweep_spread(linear.vae(), images(linear), CPU, num_draws=50)
    for c, row in table.iterrows():
        gain = -(c**2 - 1 - 2 * math.log(c))  # minus the divergence of N(0, c^2), D = 2
        assert abs(row["gain"] - gain) <= Z_LIMIT * row["gain_error"] + 1e-9, c
        assert row["elbo"] == pytest.approx(-row["rate"] - row["distortion"])
    assert tuple(table.index) == FACTORS


@pytest.mark.slow
def test_collapsed_latents_say_nothing_of_the_weight() -> None:
    linear = Linear(orthogonal=True, latent_dim=3, sigma=2.0)
    linear.weight[:, 1:] = 0
    beta = 4.0
    _, found = sweep_spread(linear.beta_vae(beta), images(linear), CPU, num_draws=50)
    assert abs(found.effective_beta - beta) <= Z_LIMIT * found.error and found.error < 1
    linear.weight[:] = 0
    _, found = sweep_spread(linear.beta_vae(1.0), images(linear), CPU)
    assert not found.error < abs(found.effective_beta)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_any_programs_and_factor_one_is_the_elbo(name: str) -> None:
    programs, split = TRAINED[name](), small_data().split("test")
    table, found = sweep_spread(programs, split, CPU, num_draws=200)
    elbo = evaluate(programs, split, CPU)
    assert table["elbo"][1.0] == pytest.approx(elbo.elbo, abs=4 * elbo.elbo_error)
    assert math.isfinite(found.factor) and math.isfinite(found.effective_beta)


@pytest.mark.parametrize(
    "posterior", ["FullRankNormal", "HouseholderFlow", "InverseAutoregressiveFlow", "Laplace"]
)
def test_any_family(posterior: str) -> None:
    vae = make_vae("Normal", posterior=posterior)
    split = torch.randint(0, 256, (20, 3, 6, 5), dtype=torch.uint8).numpy()
    assert sweep_spread(vae, split, CPU)[0].notna().all(axis=None)


@pytest.mark.slow
def test_the_same_again_and_nothing_changes() -> None:
    vae, split = small_vae().train(), small_data().split("test")
    before, state = snapshot(vae), torch.get_rng_state()
    tables = [sweep_spread(vae, split, CPU, seed=s)[0] for s in (0, 0, 1)]
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])
    assert not changed(before, snapshot(vae)) and torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None and p.requires_grad for p in vae.parameters())
    assert vae.training


def test_bad_input_is_named_in_one_line() -> None:
    vae, split = small_vae(), small_data().split("test")
    with pytest.raises(InputError, match="at least 2 images, got 1"):
        sweep_spread(vae, split.take([0]), CPU)
    for factors in ((1.0, 2.0), (2.0, 1.0, 0.5), (0.0, 1.0, 2.0), (0.5, 2.0)):
        with pytest.raises(InputError, match="allowed are positive rising numbers"):
            sweep_spread(vae, split, CPU, factors=factors)
    sphere = make_vae("Normal", "HypersphericalUniform", "VonMisesFisher")
    pixels = torch.randint(0, 256, (5, 3, 6, 5), dtype=torch.uint8).numpy()
    with pytest.raises(InputError, match="has support sphere: allowed here is R.D"):
        sweep_spread(sphere, pixels, CPU)
