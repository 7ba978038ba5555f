"""Noise, ranks and outliers where images are drawn from the very model, and where they are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from pyrovae import VAE, InputError
from pyrovae.inspection.dispersion import best_scale, dispersion, pixel_gain
from pyrovae.inspection.measures import noise
from pyrovae.inspection.outliers import find_outliers
from pyrovae.inspection.sections.typical import _ranks_said, section
from pyrovae.inspection.subject import Budget
from pyrovae.inspection.typical import (
    BINS,
    STATISTICS,
    Replication,
    pixel_calibration,
    predictive_checks,
    prior_statistics,
    rank_moments,
    rank_shape,
    replicate,
    uniformity,
)
from pyrovae.utils.lazy import pandas
from tests.support.oracle_subjects import (
    CPU,
    as_drawn,
    linear_subject,
    sound_section,
    split_of,
    subject_of,
    unchanged,
)
from tests.support.oracles import LinearGaussian
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae
from tests.support.tables import FALSE_ALARM, LIKELIHOODS, Z_LIMIT, make_vae, random_input

every_likelihood = pytest.mark.parametrize("name", LIKELIHOODS)


def ignoring_latents(name: str, count: int) -> tuple[VAE, Tensor]:
    """A VAE whose images do not depend on z, so that any posterior is exact; its images."""
    vae = make_vae(name).eval()
    h = random_input(vae.likelihood, ())
    vae.model.decoder.forward = lambda z: h.expand(*z.shape[:-1], *h.shape)  # type: ignore[method-assign]
    with torch.no_grad():
        return as_drawn(vae), vae.likelihood(h).sample((count,))  # type: ignore[return-value]


def linear(count: int, noise: float = 1.0, **kwargs: object) -> tuple[VAE, Tensor]:
    """A linear VAE with its exact posterior; images with more or less noise than it says."""
    made = LinearGaussian(orthogonal=True, **kwargs)  # type: ignore[arg-type]
    made.shape = (1, 4, 3)
    z = torch.randn(count, len(made.covariance), dtype=torch.float64)
    x = z @ made.weight.T + made.bias
    x += noise * made.sigma * torch.randn_like(x)
    return as_drawn(made.vae()), x.unflatten(-1, made.shape)  # type: ignore[return-value]


@every_likelihood
def test_the_dispersion_of_what_a_model_draws_is_1(name: str) -> None:
    vae, images = ignoring_latents(name, 400)
    found = dispersion(vae, images.numpy(), CPU)
    limit = Z_LIMIT if name != "StudentT" else 3 * Z_LIMIT  # Its squares have no variance.
    assert found.error is not None and abs(found.value - 1) < limit * found.error
    assert found.value == pytest.approx(1, abs=0.4)


def test_the_dispersion_of_the_exact_posterior_is_1() -> None:
    vae, images = linear(1000)
    found = dispersion(vae, images.numpy(), CPU)
    assert found.error is not None and abs(found.value - 1) < Z_LIMIT * found.error


def test_the_dispersion_is_the_ratio_of_residual_and_variance() -> None:
    vae, images = linear(1000)
    vae.likelihood.scale *= 2
    found = dispersion(vae, images.numpy(), CPU)
    assert found.error is not None and abs(found.value - 1 / 4) < Z_LIMIT * found.error
    with torch.no_grad():
        q = vae.encode(images)
        residual = (images - vae.decode(q.mean).mean).square().sum((1, 2, 3))
        residual += (q.variance * vae.model.decoder.weight.square().sum(0)).sum(-1)
    expected = residual.mean() / (12 * vae.likelihood.scale**2)
    assert abs(found.value - float(expected)) < Z_LIMIT * found.error


def test_a_dispersion_follows_from_its_seed() -> None:
    vae, split = small_vae(), small_data().split("test")
    with unchanged(vae):
        found = [dispersion(vae, split, CPU, seed=seed).value for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
@every_likelihood
def test_ranks_are_flat_where_the_likelihood_is_right(name: str) -> None:
    vae, images = ignoring_latents(name, 150)
    table = pixel_calibration(replicate(vae, images.numpy(), CPU, draws=9))
    assert table.share.sum() == pytest.approx(1)
    limit = scipy.stats.t.ppf(1 - FALSE_ALARM / 2 / BINS, 149)
    assert ((table.share - table.expected).abs() < limit * table.error).all()


@pytest.mark.slow
def test_ranks_and_statistics_are_uniform_under_the_exact_posterior() -> None:
    vae, images = linear(1500)
    found = replicate(vae, images.numpy(), CPU)
    moments = rank_moments(found)
    assert uniformity(found) > FALSE_ALARM and rank_shape(found) == (0, 0)
    for name in ("mean", "spread", "ends", "shoulders", "middle"):
        expected = 0.5 if name == "mean" else 1.0
        assert moments[name].error is not None
        assert abs(moments[name].value - expected) < Z_LIMIT * moments[name].error, name
    for name in STATISTICS:
        own = found.statistics.xs(name, level="statistic").p_value
        assert scipy.stats.kstest(own, "uniform").pvalue > FALSE_ALARM, name
    checks = predictive_checks(found)
    assert (checks.p_value > FALSE_ALARM).all()
    error = np.sqrt(0.05 * 0.95 / 1500)
    assert ((checks.outside - 0.05).abs() < Z_LIMIT * error).all()


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "spread"), [(2.0, 1), (0.5, -1)])
def test_ranks_say_whether_the_likelihood_is_too_narrow(noise: float, spread: int) -> None:
    vae, images = linear(300)
    vae.likelihood.scale /= noise
    replicates = replicate(vae, images.numpy(), CPU)
    assert uniformity(replicates) < FALSE_ALARM
    assert rank_shape(replicates) == (-spread, spread)
    found = rank_moments(replicates)
    assert found["spread"].error is not None
    assert spread * (found["spread"].value - 1) > Z_LIMIT * found["spread"].error
    assert spread * (found["ends"].value - 1) > 0.2


def replication(bins: np.ndarray) -> Replication:
    """Images of which only the ranks of pixels are known, as bins `(N, pixels)`."""
    shares = np.stack([np.bincount(row, minlength=BINS) / len(row) for row in bins])
    moments = np.stack([(bins + 0.5).mean(1) / BINS, np.full(len(bins), 1 / 12)], 1)
    return Replication(pandas.DataFrame(), shares, moments)


@pytest.mark.slow
def test_p_values_of_uniform_ranks_are_uniform_though_pixels_depend_on_each_other() -> None:
    generator, found = np.random.default_rng(0), []
    for count in (20, 100):
        for _ in range(200):
            kinds = generator.integers(0, BINS, (count, 3))  # Three ranks in all of an image.
            bins = np.take_along_axis(kinds, generator.integers(0, 3, (count, 50)), 1)
            found.append(uniformity(replication(bins)))
    assert scipy.stats.kstest(found, "uniform").pvalue > FALSE_ALARM
    assert np.isnan(uniformity(replication(bins[:4])))


@pytest.mark.slow
def test_pixels_that_differ_in_noise_are_never_called_uniform() -> None:
    """The noise has the right variance over all pixels, so mean and spread look right."""
    vae, images = linear(300)
    with torch.no_grad():
        loc = vae.decode(vae.encode(images).mean).mean
    factor = torch.tensor([0.05, 0.05, 2**0.5 * 1.22]).double()
    odd = loc + factor * vae.likelihood.scale * torch.randn_like(loc)
    found = replicate(vae, odd.numpy(), CPU)
    ratio = dispersion(vae, odd.numpy(), CPU)
    assert ratio.value == pytest.approx(1, abs=0.25)
    assert uniformity(found) < FALSE_ALARM and rank_shape(found) == (1, 1)
    said = _ranks_said(found, rank_moments(found))
    assert "not uniform (p" in said and "(a W)" in said and "differ in noise" in said


@pytest.mark.parametrize(("factor", "count"), [(1.0, 60), (1.0, 400), (4.0, 400)])
def test_the_gain_of_a_scale_per_pixel_has_a_closed_form(factor: float, count: int) -> None:
    vae, images = ignoring_latents("Normal", 1)
    with torch.no_grad():
        loc = vae.decode(vae.encode(images).mean).mean
    scales = factor ** torch.rand(loc.shape[1:], dtype=torch.float64) * 0.1
    images = loc + scales * torch.randn(count, *scales.shape, dtype=torch.float64)
    found = pixel_gain(vae, images.numpy(), CPU)
    exact = float(scales.square().mean().log() / 2 * scales.numel() - scales.log().sum())
    assert found is not None and found.error is not None
    assert found.value == pytest.approx(exact, abs=Z_LIMIT * found.error + 0.02 * exact)
    assert found.error < 2


@every_likelihood
@pytest.mark.parametrize("ratio", [0.25, 0.7, 1.3, 4.0])
def test_no_other_scale_is_better_than_the_right_one(name: str, ratio: float) -> None:
    """Also where tails are heavy, and where the residuals alone would say something else."""
    vae, images = ignoring_latents(name, 400)
    if not vae.likelihood.has_scale:
        return
    factor, gain = best_scale(vae, images.numpy(), CPU, ratio)
    if vae.likelihood.grey_levels == 1 and ratio < 1:
        assert np.isnan(gain) and np.isnan(factor)
    else:  # 90 pixels would lose 1 nat or more, with an error of 0.4 over images.
        assert (factor, gain) == (1, 0)


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        # KL of a Normal, and of a Laplace, and one whose scale is wrong by the factor f.
        ("Normal", lambda f: (1 / f**2 - 1) / 2 + np.log(f)),
        ("Laplace", lambda f: 1 / f - 1 + np.log(f)),
    ],
)
def test_the_gain_of_the_right_scale_is_a_divergence(
    name: str, loss: Callable[[float], float], factor: float
) -> None:
    vae, images = ignoring_latents(name, 400)
    with torch.no_grad():
        loc = vae.decode(vae.encode(images).mean).mean
    images = loc + (images - loc) / factor  # The likelihood is wide by the factor.
    found, gain = best_scale(vae, images.numpy(), CPU, 1 / factor**2)
    assert found == pytest.approx(1 / factor)
    # The error of a pixel's gain is below 3 nats.
    error = 3 * (images[0].numel() / len(images)) ** 0.5
    assert gain == pytest.approx(loss(factor) * images[0].numel(), abs=Z_LIMIT * error)


def test_the_gain_of_wider_noise_of_grey_values_is_that_of_the_wider_likelihood() -> None:
    vae = make_vae("DiscretizedLogistic").eval()
    vae.likelihood.start_at(0.04)
    h = 0.4 + 0.2 * torch.rand(vae.likelihood.num_maps(3), 6, 5)
    vae.model.decoder.forward = lambda z: h.expand(*z.shape[:-1], *h.shape)  # type: ignore[method-assign]
    with torch.no_grad():
        narrow = vae.likelihood(h)
        vae.likelihood.start_at(0.08)
        images = vae.likelihood(h).sample((400,))
        gain = (vae.likelihood(h).log_prob(images) - narrow.log_prob(images)).mean()
        vae.likelihood.start_at(0.04)
    assert best_scale(as_drawn(vae), images.numpy(), CPU, 4.0) == (
        pytest.approx(2),
        pytest.approx(float(gain), rel=0.05),
    )


@pytest.mark.parametrize(("name", "sign"), [("Normal", 0), ("Laplace", -1), ("StudentT", -1)])
def test_normals_gain_nothing_where_the_noise_is_another(name: str, sign: int) -> None:
    vae, images = ignoring_latents(name, 400)
    found = pixel_gain(vae, images.numpy(), CPU)
    assert found is not None and found.error is not None
    lost = found.value < -Z_LIMIT * found.error
    assert lost if sign < 0 else abs(found.value) < Z_LIMIT * found.error + 0.1


@every_likelihood
def test_only_a_scale_on_a_continuous_support_has_a_gain(name: str) -> None:
    vae, images = ignoring_latents(name, 60)
    found = pixel_gain(vae, images.numpy(), CPU)
    discrete = "Logistic" in name or not vae.likelihood.has_scale
    assert (found is None) == discrete
    assert pixel_gain(vae, images.numpy()[:39], CPU) is None


@pytest.mark.slow
def test_what_is_brighter_than_predicted_is_found() -> None:
    vae, images = linear(300)
    brighter = images + 0.3 * vae.likelihood.scale
    found = replicate(vae, brighter.numpy(), CPU)
    assert rank_moments(found)["mean"].value > 0.52
    with torch.no_grad():
        again = vae.decode(vae.encode(brighter).mean).mean
    checks = predictive_checks(found)
    assert checks.p_value["brightness"] < 1e-4 and checks.mean_p["brightness"] < 0.4
    expected = float((again - brighter).mean() / brighter.mean((1, 2, 3)).std())
    assert checks.difference["brightness"] == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
def test_draws_from_the_prior_have_the_statistics_of_what_the_model_drew() -> None:
    subject = linear_subject(LinearGaussian(True), 600)
    found = replicate(subject.programs, subject.split, CPU, statistics=STATISTICS)
    prior = prior_statistics(subject, 600, STATISTICS)
    checks = predictive_checks(found, prior)
    assert (checks.drawn_p_value > FALSE_ALARM).all()
    own = found.statistics.unstack()["observed"][list(STATISTICS)]
    assert ((own.mean() - prior.mean()).abs() < 6 * own.std() / np.sqrt(600)).all()
    wrong = predictive_checks(found, prior + 3)
    assert (wrong.drawn_p_value < 1e-10).all()


def test_statistics_are_what_they_are_called() -> None:
    x = torch.tensor([[[[0.0, 0.5], [1.0, 0.5]]]])
    found = {name: float(of(x)) for name, of in STATISTICS.items()}
    assert found == pytest.approx(
        {"brightness": 0.5, "contrast": 0.5**0.5 / 3**0.5, "sharpness": 0.5, "extremes": 0.5}
    )


@pytest.mark.slow
def test_every_option_of_a_replication_changes_something() -> None:
    vae, images = linear(60)
    split = split_of(images)
    tables = [
        replicate(vae, split, CPU),
        replicate(vae, split, CPU, draws=5),
        replicate(vae, split, CPU, seed=1),
        replicate(vae, split, CPU, statistics={"top": lambda x: x.amax((1, 2, 3))}),
        replicate(vae, images.numpy()[:50], CPU),
    ]
    assert len({found.statistics.to_csv() for found in tables}) == 5
    assert list(tables[3].statistics.index.levels[1]) == ["top"]


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_vae, *MAKERS.values()], ids=["vae", *MAKERS])
def test_the_section_takes_any_programs_and_leaves_them_alone(make: type) -> None:
    subject, found = sound_section(section, make(), whole=make is small_vae)
    assert set(found.tables) == {
        "typical_shown",
        "typical_outliers",
        "predictive_checks",
        "predictive_images",
        "pixel_calibration",
        "dispersion",
    }
    assert len(found.tables["typical_shown"]) == len(subject.shown)
    for table in found.tables.values():
        # Not of weights with such tails, and of few images.
        known = table.drop(columns=["error", "regret"], errors="ignore")
        assert known.notna().all().all()


@pytest.mark.slow
def test_the_section_gives_numbers_and_no_advice() -> None:
    subject = linear_subject(LinearGaussian(True), 150)
    subject.programs.likelihood.scale *= 0.5
    found = section(subject)
    ratio = found.tables["dispersion"].value
    said = f"are {ratio['dispersion']:.3f} ± "
    assert any(said in each and "scale of the noise" in each for each in found.says)
    assert not any("Try " in each for each in found.says)
    measured = noise.measure(subject)  # The verdict and the section have the same numbers.
    assert not found.symptoms and measured["pixel_gain"] == ratio["pixel_gain"]
    assert measured["pixel_gain_error"] == found.tables["dispersion"].error["pixel_gain"]


@pytest.mark.slow
def test_without_images_to_rank_among_the_rest_is_made() -> None:
    vae, images = linear(30)
    found = section(subject_of(vae, split_of(images)))
    assert found.says[-1] == (
        "There was no search for improbable images: 15 reference images: allowed is 20 or more."
    )
    assert set(found.figures) == {"pixel_calibration", "predictive_checks"}
    assert "dispersion" in found.tables and "typical_outliers" not in found.tables
    assert found.says[0].startswith("Squared residuals are")


@pytest.mark.slow
def test_bad_input_is_one_line() -> None:
    vae, images = linear(30)
    with pytest.raises(InputError, match="^draws 0: allowed is 1 or more"):
        replicate(vae, images.numpy(), CPU, draws=0)
    with pytest.raises(InputError, match="^predictive checks need at least 2 images, got 1"):
        predictive_checks(replicate(vae, images[:1].numpy(), CPU))
    budget = Budget(19, 3, 100, 2, 20, 1, 50)
    with pytest.raises(InputError, match="^9 reference images: allowed is 20"):
        find_outliers(subject_of(vae, split_of(images[:19]), budget))
    with pytest.raises(InputError, match="^15 reference images: allowed is 20"):
        find_outliers(subject_of(vae, split_of(images), train=split_of(images[:5])))
