"""The likelihood of pixels that depend on those before them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from pyrovae import distributions
from pyrovae.evaluation.baselines import log_evidence_without_latent
from pyrovae.likelihoods import AutoregressiveLogistic, Masked
from pyrovae.likelihoods.base import GreyLikelihood
from pyrovae.utils.errors import InputError
from tests.support.tables import Z_LIMIT

SHAPE = (2, 3, 4)


def make(reach: int = 1, size: float = 0.15) -> AutoregressiveLogistic:
    """A likelihood with random coefficients, in double precision."""
    likelihood = AutoregressiveLogistic(SHAPE, reach, initial_scale=0.02).double()
    size = size / reach / 8
    torch.nn.init.uniform_(likelihood.weight, -size, size)
    return likelihood.requires_grad_(False)


def dependence(likelihood: AutoregressiveLogistic) -> np.ndarray:
    """The coefficient of each value of the image for each other, by loops."""
    kernel, reach = likelihood.coefficients().numpy(), likelihood.weight.shape[-2] - 1
    places = list(itertools.product(*map(range, SHAPE)))
    found = np.zeros((len(places), len(places)))
    for (i, (c, y, x)), (j, (d, v, u)) in itertools.product(enumerate(places), repeat=2):
        row, column = v - y + reach, u - x + reach
        if 0 <= row <= reach and 0 <= column <= 2 * reach:
            found[i, j] = kernel[c, d, row, column]
    return found


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_a_value_depends_on_those_before_it_alone(reach: int) -> None:
    found = dependence(make(reach)).reshape(*SHAPE, *SHAPE)
    for c, y, x in itertools.product(*map(range, SHAPE)):
        for d, v, u in itertools.product(*map(range, SHAPE)):
            before = (v, u, d) < (y, x, c)
            near = y - v <= reach and abs(u - x) <= reach
            assert (found[c, y, x, d, v, u] != 0) == (before and near)


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_its_density_is_the_product_of_the_conditional_ones(reach: int) -> None:
    likelihood = make(reach)
    p = likelihood(0.3 * torch.randn(5, 4, 3, 4, dtype=torch.float64))
    values = torch.randint(0, 256, (5, *SHAPE)).double() / 255
    gone = (values - p.loc).flatten(1).numpy()
    loc = p.loc.flatten(1).numpy() + gone @ dependence(likelihood).T
    scale, x = p.scale.flatten(1).numpy(), values.flatten(1).numpy()
    low = np.where(x > 0, x - 0.5 / 255, -np.inf)
    high = np.where(x < 1, x + 0.5 / 255, np.inf)
    logistic = scipy.stats.logistic(loc, scale)
    tails = logistic.sf(low) - logistic.sf(high), logistic.cdf(high) - logistic.cdf(low)
    share = np.where(x > loc, *tails)
    expected = torch.from_numpy(np.log(share).sum(-1))
    torch.testing.assert_close(p.log_prob(values), expected, rtol=1e-6, atol=1e-6)


def draws(likelihood: AutoregressiveLogistic, *shape: int) -> tuple[Tensor, Tensor]:
    """Draws, and their location: grey values far from black and white."""
    loc = 0.3 + 0.4 * torch.rand(SHAPE, dtype=torch.float64)
    return likelihood(likelihood.maps(loc)).sample(shape), loc


@pytest.mark.slow
@pytest.mark.parametrize("reach", [1, 2])
def test_draws_have_the_mean_and_the_covariance_of_the_linear_model(reach: int) -> None:
    likelihood = make(reach)
    x, loc = draws(likelihood, 200, 100)
    gone = (x - loc).reshape(-1, loc.numel()).numpy()
    inverse = np.linalg.inv(np.eye(loc.numel()) - dependence(likelihood))
    noise = (likelihood.noise_scale().item() * math.pi) ** 2 / 3 + 1 / 12 / 255**2
    products = np.concatenate(
        [gone, np.einsum("ni,nj->nij", gone, gone).reshape(len(gone), -1)], 1
    )
    expected = np.append(np.zeros(loc.numel()), noise * inverse @ inverse.T)
    error = products.std(0) / math.sqrt(len(products))
    assert np.abs((products.mean(0) - expected) / error).max() < Z_LIMIT


@pytest.mark.slow
def test_the_score_of_draws_is_zero() -> None:
    likelihood = make(2).requires_grad_(True)
    x, loc = draws(likelihood, 200, 50)
    scores = []
    for batch in x:
        total = likelihood(likelihood.maps(loc)).log_prob(batch).sum()
        scores.append(torch.autograd.grad(total, likelihood.weight)[0])
    found = torch.stack(scores)[:, likelihood.causal.bool()]
    z = found.mean(0) / (found.std(0) / math.sqrt(len(found)))
    assert z.abs().max() < Z_LIMIT


def test_it_is_a_logistic_per_value_until_it_is_trained() -> None:
    likelihood = AutoregressiveLogistic(SHAPE)
    p = likelihood(torch.randn(7, 4, 3, 4))
    x = p.sample()
    plain = distributions.DiscretizedLogistic(p.loc, p.scale).to_event(3)
    torch.testing.assert_close(p.log_prob(x), plain.log_prob(x))
    torch.testing.assert_close(p.mean, plain.mean)


@pytest.mark.parametrize("reach", [1, 2])
def test_without_latents_the_baseline_finds_the_coefficients(reach: int) -> None:
    likelihood, plain = make(reach, 0.4), GreyLikelihood.without_latent
    x, loc = draws(likelihood, 2, 600)
    images = (x * 255).round().to(torch.uint8).numpy()
    found = log_evidence_without_latent(likelihood, *images)
    exact = likelihood(likelihood.maps(loc)).log_prob(x[1])
    gap = (found - exact).mean()
    independent = plain(likelihood, x[0].mean(0), x[0].var(0)).log_prob(x[1]) - exact
    # A fitted number costs about 1 / (2 N) nats; least squares of logistic noise a little more.
    fitted = 2 * loc.numel() + likelihood.causal.sum()
    assert -2 * fitted / (2 * 600) < gap < Z_LIMIT * (found - exact).std() / 600**0.5
    assert independent.mean() < 5 * gap


def test_the_baseline_bears_images_that_are_all_equal() -> None:
    images = np.full((4, *SHAPE), 7, np.uint8)
    found = log_evidence_without_latent(AutoregressiveLogistic(SHAPE, reach=2), images, images)
    assert found.isfinite().all()


def test_missing_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="its pixels depend on each other"):
        Masked(AutoregressiveLogistic(SHAPE), drop=0.5)


@pytest.mark.parametrize("reach", [-1, 0, 4])
def test_a_wrong_reach_is_refused(reach: int) -> None:
    with pytest.raises(ValueError, match=f"reach must be from 1 to 3, .*, got {reach}"):
        AutoregressiveLogistic(SHAPE, reach=reach)


def test_images_of_other_channels_are_refused() -> None:
    likelihood = AutoregressiveLogistic(SHAPE)
    likelihood.check(torch.zeros(5, *SHAPE, dtype=torch.uint8))
    with pytest.raises(InputError, match="image_shape: has 2 channels, the images have 3"):
        likelihood.check(torch.zeros(5, 3, 3, 4, dtype=torch.uint8))
