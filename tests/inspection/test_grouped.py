"""Groups of similar images: tests and fits use independent images, so they raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas
import pytest

from pyrovae.inspection.measures import data, latents
from pyrovae.inspection.section import Section
from pyrovae.inspection.sections import collapse, factors, holes, typical
from pyrovae.inspection.spread_sweep import sweep_spread
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.statistics import error_of_mean
from tests.support.small import small_data, small_vae
from tests.support.subjects import CPU, EFFORT

EACH = 4


def grouped(num_test: int = 240) -> Subject:
    """Drawn faces in groups of four."""
    split = small_data(num_test=num_test).split("test")
    groups = np.random.default_rng(0).permutation(np.arange(num_test) // EACH)
    split = replace(split, groups=groups)
    names = tuple(split.attribute_names[:2])
    shown = split.take([3, 4])
    budget = replace(EFFORT, draws=200)
    return Subject(small_vae(), split, CPU, 0, shown=shown, budget=budget, factors=names)


SECTIONS: dict[str, Callable[[Subject], Section]] = {
    "holes": holes.section,
    "typical": typical.section,
    "factors": factors.section,
}
#: Tables of all images: single ones, and means with errors.
OF_IMAGES = ("typical_outliers", "typical_shown", "dispersion")


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_sections_with_tests_use_one_image_per_group(
    section: Callable[[Subject], Section],
) -> None:
    whole = grouped(480)
    found, expected = section(whole), section(whole.independent)
    for name, table in expected.tables.items():
        if name not in OF_IMAGES:
            pandas.testing.assert_frame_equal(found.tables[name], table)
    sentence = "One image per group is used, since the tests need independent images: 120 of 480."
    assert found.says.count(sentence) == 1 and sentence not in expected.says


@pytest.mark.slow
def test_one_group_has_scores_and_noise_without_checks() -> None:
    whole = grouped(64)
    split = replace(whole.split, groups=np.zeros(64, int))
    found = typical.section(replace(whole, split=split))
    assert "There are no predictive checks, which need two groups of images or more." in found.says
    assert {"typical_outliers", "dispersion"} <= {*found.tables}
    assert "predictive_checks" not in found.tables


@pytest.mark.slow
def test_images_with_an_unknown_factor_are_left_out() -> None:
    whole = grouped().independent
    lacking = whole.split.attributes.copy()
    lacking[7, 1] = lacking[9, 0] = np.nan
    rows = np.delete(np.arange(len(lacking)), [7, 9])
    known = replace(whole, split=whole.split.take(rows))
    found = factors.section(replace(whole, split=replace(whole.split, attributes=lacking)))
    expected = factors.section(known)
    assert found.says == [*expected.says, "2 of 60 images are left out: a factor is unknown."]
    for name, table in expected.tables.items():
        pandas.testing.assert_frame_equal(found.tables[name], table)
    lacking[:, 0] = np.nan
    with pytest.raises(InputError, match=f"no image has all factors known: {whole.factors[0]}"):
        factors.section(replace(whole, split=replace(whole.split, attributes=lacking)))


def test_the_gain_of_another_prior_is_that_for_new_groups() -> None:
    whole = grouped(480)
    found, expected = latents.measure(whole), latents.measure(whole.independent)
    assert found["prior_gain"] == expected["prior_gain"] and "prior_gain" in found


def clustered(groups: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that resemble each other within a group; all groups have one distribution."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(groups, 3, 16, 16)).repeat(each, 0)
    noise = rng.normal(size=level.shape)
    images = np.clip(128 + 30 * level + 15 * noise, 0, 255).astype(np.uint8)
    return images, np.arange(groups).repeat(each)


def test_groups_of_one_distribution_are_no_shift_of_the_data() -> None:
    """The rate of false alarms: each of three p-values is at most 0.002 with that probability."""
    whole = grouped()
    for seed in range(3):
        splits = []
        for place, count in enumerate((60, 30)):
            images, groups = clustered(count, 8, 10 * seed + place)
            split = whole.split.take(np.zeros(len(images), int))
            splits.append(replace(split, images=images, groups=groups))
        train, test = splits
        p_value = data.measure(replace(whole, split=test, train=train))["shift_p"]
        assert p_value > 0.002
        apart = [replace(own, groups=None) for own in splits]
        wrong = data.measure(replace(whole, split=apart[1], train=apart[0]))["shift_p"]
        assert wrong < 0.002  # What the test says of images that it takes for independent.


def test_too_few_groups_are_not_tested_for_a_shift() -> None:
    whole = grouped(64)
    found = data.measure(replace(whole, train=small_data().split("train")))
    assert "shift_p" not in found


def test_errors_are_those_of_groups() -> None:
    whole = grouped()
    groups = whole.split.groups
    table = collapse.section(whole).tables["dimensions"]
    kl = pandas.DataFrame(whole.encoded.kl, columns=whole.encoded.names)
    for name, error in table["error"].items():
        assert error == pytest.approx(error_of_mean(kl[name].to_numpy(), groups))
    swept, _ = sweep_spread(whole.programs, whole.split, CPU, widest=1)
    assert len(swept) and np.isfinite(swept["error"]).all()
    plain, _ = sweep_spread(whole.programs, replace(whole.split, groups=None), CPU, widest=1)
    assert (swept["elbo"] == plain["elbo"]).all() and (swept["error"] != plain["error"]).all()


def test_too_few_groups_are_named_with_their_number() -> None:
    with pytest.raises(
        InputError, match="10 draws of .* more. One image per group is .*: 10 of 40"
    ):
        holes.section(grouped(40))
