"""What q(z given x) says of single images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae import ConvEncoder, DiagonalNormal, Engine, FullRankNormal, InputError, StandardNormal
from pyrovae.inspection.posterior import Predictive, correlation_table, correlations, predictive
from pyrovae.inspection.sections.posterior import (
    DRAWS,
    RISK,
    _draw_predictive,
    _limit,
    _noise_said,
    _prior_band,
    section,
)
from pyrovae.inspection.subject import QUICK, Subject
from pyrovae.posterior.space import LatentSpace
from pyrovae.priors import Laplace
from pyrovae.utils.modes import evaluation_mode
from tests.support.oracles import LinearGaussian
from tests.support.small import LATENT_DIM, small_data, small_vae
from tests.support.tables import FALSE_ALARM, LIKELIHOODS, Z_LIMIT, make_images, make_vae


@pytest.mark.slow
def test_correlations_are_those_of_the_posterior() -> None:
    oracle = LinearGaussian()
    vae, x = oracle.vae(FullRankNormal(2).double()), oracle.images(3)
    with torch.no_grad():
        draws = LatentSpace.of(vae, x).guide_draws(4000, x)
    found = correlations(draws)
    root = oracle.covariance.diagonal().sqrt()
    expected = (oracle.covariance / root[:, None] / root)[0, 1].item()
    limit = Z_LIMIT * (1 - expected**2) / 4000**0.5
    assert found.shape == (3, 2, 2) and np.allclose(found[:, [0, 1], [0, 1]], 1)
    assert (np.abs(found[:, 0, 1] - expected) < 1.1 * limit).all()
    table = correlation_table(found, ["a", "b", "c"], ["z[0]", "z[1]"])
    assert len(table) == 3 and table["correlation"].iloc[1] == found[1, 0, 1]
    with pytest.raises(InputError, match="at least 3 draws, got 2"):
        correlations(draws[:2])


def test_the_spread_of_pixels_is_that_of_the_posterior_predictive() -> None:
    oracle = LinearGaussian(orthogonal=True)
    vae, x = oracle.vae(), oracle.images(2)
    vae.likelihood.to_images = lambda p: p.mean  # type: ignore[method-assign]
    with torch.no_grad():
        found = predictive(LatentSpace.of(vae, x), x, num_draws=4000)
        mean = vae.decode(vae.encode(x).mean).mean
    inner = (oracle.weight @ oracle.covariance @ oracle.weight.T).diagonal()
    latent = inner.sqrt().reshape(oracle.shape)
    whole = (inner + oracle.sigma**2).sqrt().reshape(oracle.shape)
    error = Z_LIMIT * 1.2 / (2 * 4000) ** 0.5
    assert ((found.latent_spread / latent - 1).abs() < error).all()
    assert ((found.spread / whole - 1).abs() < error).all()
    assert ((found.mean - mean).abs() < Z_LIMIT * 1.2 * latent / 4000**0.5).all()
    assert found.decoded.shape == (4, 2, *oracle.shape)
    assert found.table(["a", "b"])["spread"].tolist() == pytest.approx(
        (255 * found.spread.flatten(1).square().mean(1).sqrt()).tolist()
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_has_a_predictive(likelihood: str) -> None:
    vae = make_vae(likelihood)
    x = vae.observe(make_images(vae.likelihood, 2))
    with torch.no_grad(), evaluation_mode(vae):
        found = predictive(LatentSpace.of(vae, x), x, num_draws=5, kept=2)
    assert found.decoded.shape == found.noisy.shape == (2, *x.shape)
    assert (found.spread > 0).any() and found.mean.isfinite().all()
    with pytest.raises(InputError, match="at least 2 draws, got 1"):
        predictive(LatentSpace.of(vae, x), x, num_draws=1)


@pytest.mark.parametrize(("draws", "pairs"), [(10, 1), (50, 45), (400, 84)])
def test_independent_dimensions_seldom_exceed_the_limit(draws: int, pairs: int) -> None:
    """A binomial test of their number."""
    rng = np.random.default_rng(0)
    above, repeats = 0, 20_000 // pairs
    for _ in range(repeats):
        x, y = rng.normal(size=(2, draws, pairs))
        both = [z - z.mean(0) for z in (x, y)]
        found = (both[0] * both[1]).sum(0) / np.sqrt(np.square(both).sum(1).prod(0))
        above += int(np.abs(found).max() > _limit(draws, pairs))
    assert scipy.stats.binomtest(above, repeats, RISK, "greater").pvalue > FALSE_ALARM
    assert pairs > 1 or scipy.stats.binomtest(above, repeats, RISK, "less").pvalue > FALSE_ALARM


@pytest.mark.slow
@pytest.mark.parametrize("family", [DiagonalNormal, FullRankNormal])
def test_correlations_are_drawn_where_there_are_some(family: type) -> None:
    """Independent dimensions are called correlated with a probability of 0.001."""
    torch.manual_seed(0)
    vae = small_vae()
    posterior = family(LATENT_DIM)
    vae.guide.posterior = posterior
    vae.guide.encoder = ConvEncoder((3, 16, 16), posterior.num_params, [4, 8])
    with torch.no_grad():
        vae.guide.encoder.layers[-1].bias[2 * LATENT_DIM :] += 2
    split = small_data().split("test")
    budget = replace(QUICK, draws=400)
    subject = Subject(vae, split, Engine("cpu", "fp32"), shown=split.take([0, 5]), budget=budget)
    found = section(subject)
    locations, widths, *_ = found.figures["intervals"].figure.axes
    (band,) = locations.patches
    assert np.allclose(np.abs([band.get_data().values, band.get_data().baseline]), 1.96, atol=0.01)
    scales = subject.of(subject.shown).encoded.scale[0]
    assert sorted(bar.get_height() for bar in widths.patches) == pytest.approx(sorted(scales))
    some = family is FullRankNormal
    assert ("correlations" in found.figures) == ("correlations" in found.tables) == some
    assert ("No correlation of two dim" in found.says[1]) != some
    if some:
        row = found.tables["correlations"]["correlation"].abs().idxmax()
        image = found.tables["correlations"]["image"][row]
        assert f"that of {image}" in found.figures["correlations"].caption


@pytest.mark.parametrize(
    ("prior", "fn"),
    [(StandardNormal, scipy.stats.norm()), (Laplace, scipy.stats.laplace())],
)
def test_the_band_is_that_of_the_prior(prior: type, fn: Any) -> None:
    vae = small_vae()
    vae.model.prior = prior(LATENT_DIM)
    split = small_data().split("test")
    subject = Subject(vae, split, Engine("cpu", "fp32"), shown=split.take([0]), budget=QUICK)
    expected = np.repeat(fn.ppf([0.025, 0.975])[:, None], 2, axis=1)
    assert np.allclose(_prior_band(subject, np.array([2, 0])), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 32, 16)])
@pytest.mark.parametrize("varies", [False, True])
def test_the_spread_of_one_scale_has_no_pictures(varies: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, *shape)
    scale = torch.linspace(0.1, 0.9, shape[-1]) if varies else torch.tensor(0.3)
    noisy = images + scale * torch.randn(DRAWS, 2, *shape)
    seen = Predictive(images, 0.01 * images, noisy.std(0), images[None], noisy[:1])
    figure = _draw_predictive(images, seen, ["a", "a/very/long/name/of/an/image.jpg"])
    titles = [own.get_title() for own in figure.axes[: len(figure.axes) // 2]]
    assert sum("noise" in title for title in titles) == 1 + varies and len(titles) == 5 + varies
    assert ("it is about 76 for all" in _noise_said(seen)) == (not varies)
    # Rows are as high as their images, with room for a name.
    figure.draw_without_rendering()
    tops = [own.get_position() for own in figure.axes]
    gap = (tops[0].y0 - tops[-1].y1) * figure.get_figheight()
    assert 0 < gap < 0.5
