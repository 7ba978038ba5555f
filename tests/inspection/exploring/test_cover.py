"""The cover of points against the holes of the report, and against the exchange of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae import Engine, InputError
from pyrovae.data.rows import spread_rows
from pyrovae.inspection.exploring import Cover
from pyrovae.inspection.exploring.cover import MOST
from pyrovae.inspection.holes import SOME, find_holes, nearest_posteriors
from pyrovae.inspection.subject import QUICK, Subject
from pyrovae.posterior.encoding import BY_DIMENSION
from tests.support.oracle_subjects import linear_subject
from tests.support.oracles import LinearGaussian
from tests.support.programs import CLASSES
from tests.support.small import small_data
from tests.support.tables import FALSE_ALARM

CPU = Engine("cpu", "fp32")


def subject(count: int = 240) -> Subject:
    return linear_subject(LinearGaussian(orthogonal=True, latent_dim=3), count, draws=500)


@pytest.mark.slow
def test_distances_and_threshold_are_those_of_the_holes_in_the_report() -> None:
    own = subject()
    cover, found = Cover.of(own.encoded), find_holes(own)
    assert cover.held_out == pytest.approx(np.sort(found.held_out.distance.to_numpy()))
    shares = cover.shares(found.z.double().numpy())
    assert np.array_equal(cover.is_thin(shares), found.prior.far.to_numpy())
    assert found.prior.far.any() and not found.prior.far.all()
    row = found.shares.loc["distance"]
    assert cover.level == pytest.approx(row.nominal * (1 + 1 / len(cover.held_out)))


@pytest.mark.slow
def test_classes_have_no_distance() -> None:
    split = small_data(num_test=120).split("test")
    vae = CLASSES["mixture"]()
    own = Subject(vae, split, CPU, shown=split.take([0]), budget=QUICK)
    cover, held_out = Cover.of(own.encoded), find_holes(own).held_out.distance
    alone = Cover.of(own.encoded.continuous())
    real = cover.columns
    assert [own.space.names[column][:2] for column in real] == ["z["] * 4
    assert cover.held_out.tolist() == alone.held_out.tolist()
    z, places = own.encoded.draws, np.arange(0, len(split), 2)
    assert np.array_equal(cover.shares(z), alone.shares(z[:, real]))
    used = places[spread_rows(len(places), SOME)]
    loc, scale = (values[used][:, real] for values in (own.encoded.loc, own.encoded.scale))
    expected = nearest_posteriors(z[1::2, real], loc, scale)
    assert held_out.to_numpy() == pytest.approx(expected)


@pytest.mark.slow
def test_encodings_of_new_images_are_covered_as_those_that_were_held_out() -> None:
    torch.manual_seed(1)
    linear = LinearGaussian(orthogonal=True, latent_dim=3)
    first, second = (linear_subject(linear, 1000).encoded for _ in range(2))
    cover = Cover.of(first)
    shares, held_out = cover.shares(second.draws), cover.shares(first.draws[1::2])
    assert np.sort(held_out) == pytest.approx(np.arange(1, 501) / 500)
    assert scipy.stats.ks_2samp(shares, held_out).pvalue > FALSE_ALARM


@pytest.mark.slow
def test_without_an_image_its_own_posterior_does_not_cover() -> None:
    encoded = subject().encoded
    cover, row = Cover.of(encoded), 4
    z = encoded.loc[[row]]
    assert cover.shares(z).tolist() == [1.0]
    others = np.setdiff1d(np.arange(0, len(encoded), 2), [row])
    distance = nearest_posteriors(z, encoded.loc[others], encoded.scale[others])
    expected = (cover.held_out >= distance).mean()
    assert cover.shares(z, [row])[0] == expected < 1
    # The posterior of a held-out image covers nothing.
    assert np.array_equal(cover.shares(z, [row, 5]), cover.shares(z, [row]))


@pytest.mark.slow
def test_few_images_have_shares_but_no_thin_places() -> None:
    cover = Cover.of(subject(20).encoded)
    far = np.full((1, 3), 1e3)
    assert cover.shares(far).tolist() == [0.0]
    assert not cover.enough and not cover.is_thin(cover.shares(far)).any()
    assert np.isnan(Cover.of(subject(3).encoded).shares(far, [0, 2])).all()
    with pytest.raises(InputError, match="^1 image: the cover needs at least 2"):
        Cover.of(subject(1).encoded)


@pytest.mark.slow
def test_many_images_are_thinned() -> None:
    rows = np.arange(2 * MOST + 100)
    encoded = subject().encoded
    parts = {name: getattr(encoded, name)[rows % 240] for name in ("loc", "scale", "draws")}
    cover = Cover.of(type(encoded)(**{**encoded.__dict__, **parts}))
    assert len(cover.rows) == len(cover.held_out) == MOST
    assert not (cover.rows % 2).any() and cover.rows.max() > 2 * MOST


@pytest.mark.slow
def test_idle_dimensions_do_not_hide_a_point_without_images() -> None:
    """The noise of held-out draws in 40 idle dimensions is farther than three deviations."""
    own = subject(240)
    encoded, random = own.encoded, np.random.default_rng(0)
    idle, ones = random.normal(size=(240, 40)), np.ones((240, 40))
    more = {"loc": 0 * ones, "mean_shift": 0 * ones, "noise": 0 * ones, "kl": 0 * ones}
    more |= {"scale": ones, "draws": idle}
    whole = {n: np.concatenate([getattr(encoded, n), more[n]], 1) for n in BY_DIMENSION}
    once = {"exact": np.ones(43, bool), "prior_scale": np.ones(43)}
    wide = replace(encoded, names=[f"z[{i}]" for i in range(43)], **whole, **once)
    wide = replace(wide, discrete=np.zeros(43, bool))
    cover, alone, z = Cover.of(wide), Cover.of(encoded), np.zeros((6, 43))
    assert cover.columns.tolist() == [0, 1, 2]
    z[:, 0] = np.linspace(0, 10, 6)
    assert np.array_equal(cover.shares(z), alone.shares(z[:, :3]))
    assert cover.is_thin(cover.shares(z)).tolist() == 2 * [False] + 4 * [True]
    collapsed = replace(wide, mean_shift=0 * wide.mean_shift)
    assert len(Cover.of(collapsed).columns) == 43  # No unit is active.


def test_images_of_a_group_are_on_one_side() -> None:
    """Five copies of each image: with copies on both sides new images would look uncovered."""
    own = subject(240)
    encoded, groups = own.encoded, np.arange(240).repeat(5)
    names = [*BY_DIMENSION, "rate", "distortion", "log_q", "log_p", "squared_error"]
    copies = replace(encoded, **{name: getattr(encoded, name).repeat(5, 0) for name in names})
    cover = Cover.of(copies, groups)
    assert not {*groups[cover.rows]} & {*np.arange(1, 240, 2)}
    assert np.median(cover.held_out) == pytest.approx(np.median(Cover.of(encoded).held_out))
    assert np.median(cover.held_out) > 1.3 * np.median(Cover.of(copies).held_out)
    assert len(Cover.of(encoded, np.zeros(240)).rows) == 120  # One group cannot be divided.


def test_without_an_image_no_image_of_its_group_covers() -> None:
    encoded, pairs = subject(240).encoded, np.arange(240) // 2
    cover = Cover.of(encoded, pairs)
    assert cover.rows[:4].tolist() == [0, 1, 4, 5]
    z = encoded.loc[[4]]
    rest = np.setdiff1d(cover.rows, [4, 5])
    expected = (
        cover.held_out >= nearest_posteriors(z, encoded.loc[rest], encoded.scale[rest])
    ).mean()
    assert cover.shares(z, [4])[0] == cover.shares(z, [5])[0] == expected < 1
