"""Improbable images: exact ranks, what they are ranked among, and where each image is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae import InputError
from pyrovae.inspection.anomalies import auroc
from pyrovae.inspection.outliers import Outliers, find_outliers, rank_among
from pyrovae.inspection.sections.typical import _outliers_said, section
from tests.support.oracle_subjects import (
    linear_subject,
    small_subject,
    split_of,
    subject_of,
)
from tests.support.oracles import LinearGaussian, assert_mean
from tests.support.small import small_data, small_vae
from tests.support.tables import FALSE_ALARM


@pytest.mark.slow
def test_log_evidence_of_an_exact_posterior_ranks_images_exactly() -> None:
    made = LinearGaussian(True)
    subject = linear_subject(made, 100)
    found = find_outliers(subject, draws=2)
    assert subject.held_out is not None and found.of == "held-out images" and found.draws == 2
    looked_at = subject.held_out.spread(len(found.reference)).images
    reference = made.log_evidence(torch.from_numpy(looked_at)).numpy()
    assert found.reference == pytest.approx(reference)
    for row in found.table.itertuples():
        split = subject.shown if row.split == "shown" else found.split
        exact = float(made.log_evidence(torch.from_numpy(split.images[[row.row]])))
        assert row.log_evidence == pytest.approx(exact)
        assert row.rank == pytest.approx((reference < exact).mean())
        assert row.image == split.names[row.row]
    assert found.table.log_evidence.is_monotonic_increasing
    assert (found.table.split == "shown").sum() == 3


def test_p_values_of_the_models_own_images_are_uniform() -> None:
    made = LinearGaussian(True)
    own, reference = (made.log_evidence(made.images(2000)).numpy() for _ in range(2))
    rank, p_value = rank_among(own[:300], reference)
    assert scipy.stats.kstest(p_value, "uniform").pvalue > FALSE_ALARM
    assert_mean(torch.from_numpy(rank), 0.5)


@pytest.mark.slow
def test_an_image_of_another_kind_is_the_least_probable() -> None:
    subject = linear_subject(LinearGaussian(True), 100)
    odd = split_of(torch.from_numpy(subject.split.images[:1]) + 4)
    for held_out in (subject.held_out, None):
        found = find_outliers(replace(subject, shown=odd, held_out=held_out), images=40)
        assert found.of == ("held-out images" if held_out else "other images of test")
        row = found.table.iloc[0]
        assert row.split == "shown" and row["rank"] == 0
        assert row.p_value == pytest.approx(1 / (1 + len(found.reference)))


@pytest.mark.slow
def test_every_option_of_outliers_changes_something() -> None:
    subject = small_subject(small_vae())
    found = [
        find_outliers(subject),
        find_outliers(subject, images=30),
        find_outliers(subject, draws=7),
        find_outliers(replace(subject, seed=1)),
    ]
    assert len({each.table.to_csv() for each in found}) == 4
    assert len(found[1].reference) == 30


def unreliable(rare: Outliers, share: float) -> Outliers:
    """The same with a k-hat of 1 for a share of the images."""

    def bad(count: int) -> np.ndarray:
        return np.where(np.arange(count) < share * count, 1.0, 0.2)

    table = rare.table.assign(k_hat=bad(len(rare.table)), rank=0.1)
    return replace(rare, table=table, reference_k_hat=bad(len(rare.reference)))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_ranks_mean_depends_on_k_hat(share: float) -> None:
    rare = unreliable(find_outliers(small_subject(small_vae())), share)
    said = " ".join(_outliers_said(rare))
    own = rare.table[rare.table.split != "shown"]  # Those shown are of the split too.
    bad = int((own.k_hat > 0.7).sum())
    told = f"above 0.7 for {bad} of {len(own)} images, and for 10 of the 20"
    assert (told in said) == (share > 0)
    assert ("ranks are reliable" in said) == (share == 0)
    row = rare.table[rare.table.split == "shown"].iloc[0]
    assert f"has a log p(x) of at least {row.log_evidence:,.1f} nats (k-hat" in said
    error = rare.reference.std(ddof=1) / len(rare.reference) ** 0.5
    assert f"and {rare.reference.mean():,.1f} ± {error:,.1f} nats for the held-out" in said


@pytest.mark.slow
def test_too_few_held_out_images_give_way_to_the_others_of_the_split() -> None:
    subject = linear_subject(LinearGaussian(True), 50)
    vae, split = subject.programs, subject.split
    found = find_outliers(subject_of(vae, split, train=split, held_out=split.take(range(19))))
    assert found.of == "other images of test" and len(found.reference) >= 20
    found = find_outliers(subject_of(vae, split, held_out=split.take(range(20))))
    assert found.of == "held-out images" and len(found.reference) == 20
    few = subject_of(vae, split.take(range(30)), train=split)
    found = find_outliers(few)
    assert found.of == "training images" and "p-values are too small" in " ".join(
        _outliers_said(found)
    )
    with pytest.raises(InputError, match="^15 reference images: allowed is 20"):
        find_outliers(replace(few, name="train"))


@pytest.mark.slow
def test_training_images_are_no_reference() -> None:
    """An overfitted model finds its training images far more probable than new ones."""
    subject = linear_subject(LinearGaussian(True), 120)
    images = torch.from_numpy(subject.split.images)
    darker, others = (split_of(own + 1.0) for own in images.split(80))  # Fitted less well.
    subject = replace(subject, split=darker)
    for held_out in (None, others):
        table = find_outliers(replace(subject, held_out=held_out)).own
        assert scipy.stats.kstest(table.p_value, "uniform").pvalue > FALSE_ALARM


@pytest.mark.slow
def test_places_are_those_of_the_data_set() -> None:
    data, vae = small_data(num_test=120), small_vae()
    vae.data = data
    whole = data.split("test")
    subject = subject_of(vae, whole.spread(60), held_out=data.split("train"))
    found = find_outliers(subject, images=30)
    assert len(found.own) == 30
    for row in found.own.itertuples():
        assert row.image == whole.names[row.place] == found.split.names[row.row]
        assert (whole.images[row.place] == found.split.images[row.row]).all()


@pytest.mark.parametrize("size", [1, 8])
def test_the_error_of_an_auroc_is_that_of_independent_groups(size: int) -> None:
    """Images of a group have equal scores: as many times as there are, the error is the same."""
    rng = np.random.default_rng(0)
    usual, others = rng.normal(size=40), 0.5 + rng.normal(size=30)
    expected = auroc(usual, others)
    groups = np.arange(40).repeat(size), np.arange(30).repeat(size)
    found = auroc(usual.repeat(size), others.repeat(size), *groups)
    assert found.value == pytest.approx(expected.value)
    assert found.error == pytest.approx(expected.error)


@pytest.mark.slow
def test_images_of_a_group_count_once_in_errors_of_aurocs() -> None:
    subject = linear_subject(LinearGaussian(True), 100)
    images, odd = subject.split.images[:40], subject.split.images[40:70] + 0.5
    errors = []
    for size in (1, 3):
        sets = [split_of(torch.from_numpy(own.repeat(size, 0))) for own in (images, odd)]
        usual, others = (replace(own, groups=np.arange(len(own)) // size) for own in sets)
        own = replace(subject, split=usual, against=others)
        errors.append(find_outliers(own, images=200, draws=2).aurocs().error)
    assert errors[1]["log_evidence"] == pytest.approx(errors[0]["log_evidence"], rel=1e-6)


@pytest.mark.slow
def test_many_shown_images_are_counted(unpainted: pytest.MonkeyPatch) -> None:
    """A sentence and a line for each would hide the others."""
    del unpainted
    subject = small_subject(small_vae())
    many = replace(subject, shown=subject.split)
    for own in (subject, many):
        found = section(own)
        rare, said = (
            find_outliers(own),
            [each for each in found.says if each.startswith("The image ")],
        )
        assert len(said) == min(6, len(rare.shown))
        low, local = ((rare.shown[name] <= 0.05).sum() for name in ("p_value", "residual_p_value"))
        told = (
            f"{low} of {len(rare.shown)} shown images have a p-value of log p(x) of 0.05 or less, "
            f"and {local} have one of their largest residual"
        )
        assert found.says[0].startswith(told) == (len(rare.shown) > 6)


@pytest.mark.slow
def test_training_images_are_ranked_among_each_other() -> None:
    subject = small_subject(small_vae())
    found = find_outliers(replace(subject, name="train"))
    assert found.of == "other images of train" and len(found.own) + len(found.reference) == 40


@pytest.mark.slow
@pytest.mark.parametrize("moved", [0.0, 1.0])
@pytest.mark.parametrize("per_group", [1, 5])
def test_a_drift_of_all_shown_images_is_noticed(moved: float, per_group: int) -> None:
    made = LinearGaussian(True)
    subject = linear_subject(made, 100)
    groups = np.arange(80 * per_group) // per_group
    shown = replace(split_of(made.images(len(groups)) + moved), groups=groups)
    found = find_outliers(replace(subject, shown=shown), draws=25).drift()
    assert set(found) == {"log_evidence", "residual"}
    assert all((p < FALSE_ALARM) == bool(moved) for p in found.values())
