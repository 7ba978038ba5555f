"""Anomaly scores, where they are known, and how well they tell two sets of images apart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image

from pyrovae import InputError, Normal
from pyrovae.inspection.anomalies import SCORES, auroc, compressed_nats, likelihood_regret
from pyrovae.inspection.outliers import find_outliers
from pyrovae.inspection.sections.typical import section
from pyrovae.inspection.subject import Subject
from pyrovae.likelihoods import Masked
from tests.support.oracle_subjects import (
    linear_subject,
    small_subject,
    split_of,
    subject_of,
    unchanged,
)
from tests.support.oracles import LinearGaussian
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae
from tests.support.tables import FALSE_ALARM, Z_LIMIT


def test_the_auroc_is_that_of_the_rank_sum_test() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 9, 40), generator.integers(2, 11, 30)
    found = auroc(first, second)
    expected = scipy.stats.mannwhitneyu(second, first).statistic / 1200
    assert found.value == pytest.approx(expected)
    assert auroc(second, first).value == pytest.approx(1 - expected)
    assert auroc(first, first + 100).value == 1


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_auroc_of_normals_and_its_error_have_closed_forms(shift: float) -> None:
    generator = np.random.default_rng(0)
    exact = scipy.stats.norm.cdf(shift / math.sqrt(2))
    scores = []
    for _ in range(400):
        found = auroc(generator.normal(size=50), generator.normal(shift, size=80))
        scores.append((found.value - exact) / (found.error or math.nan))
    assert abs(np.mean(scores)) < Z_LIMIT / 20
    assert np.std(scores) == pytest.approx(1, abs=0.2)


def exact_subject(inflation: float = 1.0, shift: float = 0.0) -> Subject:
    """A linear model whose guide is the exact posterior, or has another variance or mean."""
    made = LinearGaussian(True)
    subject = linear_subject(made, 40)
    vae = made.vae(inflation=inflation)
    with torch.no_grad():
        encoder = vae.guide.encoder
        away = shift * made.covariance.diagonal().sqrt()
        encoder.bias.copy_(encoder.bias - torch.linalg.pinv(encoder.weight) @ away)
    vae.likelihood.observe = vae.likelihood.dequantize = lambda images: images  # type: ignore[method-assign]
    return subject_of(vae, subject.split, subject.budget, train=subject.train)


@pytest.mark.slow
def test_the_regret_of_an_exact_posterior_is_0() -> None:
    subject = exact_subject()
    found = likelihood_regret(subject, subject.split)
    assert found.shape == (40,) and (found >= 0).all() and found.max() < 0.1
    # The steps of Adam gain by chance for one half: 10 or fewer of 40 with a probability of 0.1%.
    assert (found == 0).sum() > 10


@pytest.mark.slow
@pytest.mark.parametrize(("inflation", "shift"), [(4.0, 0.0), (1.0, 1.5)])
def test_regret_is_the_divergence_from_the_exact_posterior(inflation: float, shift: float) -> None:
    """The family holds it, so refinement could gain all of KL(q || p)."""
    subject = exact_subject(inflation, shift)
    exact = 2 * (inflation - 1 - math.log(inflation) + shift**2) / 2  # Two dimensions.
    found = likelihood_regret(subject, subject.split)
    assert found.mean() == pytest.approx(exact, rel=0.3) and found.mean() < exact * 1.1


def test_the_length_of_an_image_depends_on_its_detail() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8) * 9, noise.shape)
    lengths = compressed_nats(np.concatenate([noise, ramp]))
    assert (lengths[:2] >= noise[0].size * math.log(256)).all()  # Noise cannot be compressed.
    assert (lengths[2:] < lengths[0] / 20).all()


@pytest.mark.slow
def test_complexity_counts_the_pixels_that_are_scored(tmp_path: Path) -> None:
    """What lies under the mask changes neither log p(x) nor the length."""
    hidden = np.zeros((16, 16), np.uint8)
    hidden[:8] = 255
    Image.fromarray(hidden).save(tmp_path / "mask.png")
    likelihood = Masked(Normal(0.2), mask=str(tmp_path / "mask.png"))
    subject = small_subject(small_vae(likelihood=likelihood))
    images = np.array(subject.split.images)
    images[..., :8, :] = 255 - images[..., :8, :]
    other = replace(subject, split=replace(subject.split, images=images))
    found, again = (find_outliers(own).own.sort_values("row") for own in (subject, other))
    length = compressed_nats(np.where(hidden, 0, np.array(find_outliers(subject).split.images)))
    density = found.log_evidence - 384 * math.log(256)
    assert found.complexity.to_numpy() == pytest.approx(density + length)
    lengths = again.complexity - again.log_evidence
    assert lengths.to_numpy() == pytest.approx(found.complexity - found.log_evidence)


@pytest.mark.slow
def test_the_table_holds_every_score() -> None:
    subject = small_subject(small_vae())
    found = find_outliers(subject)
    table, mean = found.table, found.reference.mean()
    assert table.typicality.to_numpy() == pytest.approx((table.log_evidence - mean).abs())
    assert (table.elbo < table.log_evidence).all()
    for row in table.itertuples():
        split = subject.shown if row.split == "shown" else found.split
        length = compressed_nats(split.images[[row.row]])[0]
        density = row.log_evidence - 768 * math.log(256)
        assert row.complexity == pytest.approx(density + length)
    assert found.shown.regret.notna().sum() == subject.budget.refined
    assert found.own.regret.isna().all()
    assert found.against.empty and found.aurocs().empty


@pytest.mark.slow
def test_sets_of_one_distribution_have_an_auroc_of_a_half() -> None:
    made = LinearGaussian(True)
    subject = replace(linear_subject(made, 400), against=split_of(made.images(400)))
    found = find_outliers(subject, images=400, draws=2)
    assert len(found.own) == len(found.against) == 400
    assert len(found.own) + len(found.against) + len(found.shown) == len(found.table)
    table = found.aurocs()
    limit = scipy.stats.norm.isf(FALSE_ALARM / 2 / len(table))
    known = table.drop(index="regret")  # Here it is 0 for all images.
    assert ((known.auroc - 0.5).abs() < limit * known.error).all()
    assert list(table.index) == list(SCORES)


@pytest.mark.slow
def test_images_of_another_kind_have_an_auroc_near_1() -> None:
    made = LinearGaussian(True)
    subject = linear_subject(made, 100)
    odd = split_of(made.images(60) + 3)
    table = find_outliers(replace(subject, against=odd), images=60).aurocs()
    for name in ("elbo", "log_evidence", "typicality"):
        assert table.auroc[name] > 0.95, name
    usual = split_of(made.bias.unflatten(0, made.shape).expand(60, *made.shape).clone())
    table = find_outliers(replace(subject, against=usual), images=60).aurocs()
    assert table.auroc["log_evidence"] < 0.1  # Too probable: only typicality has two sides.
    assert table.auroc["typicality"] > 0.6


@pytest.mark.slow
@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("make", [small_vae, *MAKERS.values()], ids=["vae", *MAKERS])
def test_the_section_compares_two_sets(make: type) -> None:
    subject = small_subject(make(), 60)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
    odd = replace(small_data(num_test=40).split("test"), images=pixels)
    both = replace(subject, against=odd, against_name="noise")
    with unchanged(both.programs):
        found = section(both)
    assert found.says[0].startswith("AUROC of 20 images of noise against 20 images of the split")
    assert len(found.tables["anomaly_aurocs"]) >= 4
    assert set(found.tables["typical_outliers"].split) == {"test", "shown", "against"}
    assert "noise (line)" in found.figures["anomaly_scores"].caption
    if make is small_vae:  # Without the other set there is one figure less, of any programs.
        assert set(section(subject).figures) == set(found.figures) - {"anomaly_scores"}


def test_a_second_data_set_that_does_not_fit_is_refused_in_one_line() -> None:
    subject = small_subject(small_vae())
    other = small_data(image_size=32).split("test")
    with pytest.raises(InputError, match=r"^against: images of shape \(3, 32, 32\), allowed is"):
        replace(subject, against=other)
    with pytest.raises(InputError, match="^against: 19 images, allowed is 20 or more$"):
        replace(subject, against=small_data().split("test").take(range(19)))
