"""Holes against closed forms: mixtures of Normals whose mass is known."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from matplotlib.figure import Figure

from pyrovae import InputError
from pyrovae.data import Split
from pyrovae.evaluation.latents import log_mixture
from pyrovae.inspection import holes
from pyrovae.inspection.holes import (
    find_holes,
    nearest_posteriors,
    share_beyond,
    share_p_value,
)
from pyrovae.inspection.sections.holes import section
from pyrovae.inspection.subject import Budget, Subject
from pyrovae.posterior.view import PosteriorView
from tests.support.oracle_subjects import (
    CPU,
    as_drawn,
    linear_subject,
    small_subject,
    sound_section,
    split_of,
    subject_of,
)
from tests.support.oracles import LinearGaussian, assert_mean
from tests.support.programs import MAKERS
from tests.support.small import small_vae
from tests.support.tables import IN_TURN, Z_LIMIT, make_images, make_vae

FAMILIES = [parts for parts in IN_TURN if parts[0] == "Normal"]

RANDOM = np.random.default_rng(0)


def clusters(count: int = 1000, draws: int = 4000) -> tuple[Subject, float, float]:
    """One latent, images whose posterior means are -m or m: the subject, m, and their scale."""
    linear = LinearGaussian(orthogonal=True, latent_dim=1)
    linear.shape = (1, 4, 3)
    scale = float(linear.covariance.sqrt())
    to_mean = linear.covariance @ linear.weight.T / linear.sigma**2
    sides = torch.tensor([-1.5, 1.5], dtype=torch.float64).repeat_interleave(2)
    z = sides.repeat(count // 4)[:, None] / float(to_mean @ linear.weight)
    images = (z @ linear.weight.T + linear.bias).unflatten(-1, linear.shape)
    budget = Budget(count, 3, draws, 2, 20, 1, 50)
    return subject_of(as_drawn(linear.vae()), split_of(images), budget), 1.5, scale


@pytest.mark.slow
def test_a_gap_between_two_clusters_is_the_mass_that_is_known() -> None:
    subject, m, scale = clusters()
    found = find_holes(subject, alpha=0.05)

    def log_ratio(z: np.ndarray) -> np.ndarray:
        sides = [scipy.stats.norm.logpdf(z, side, scale) for side in (-m, m)]
        return np.logaddexp(*sides) - np.log(2) - scipy.stats.norm.logpdf(z)

    z = np.linspace(-8, 8, 200_001)
    ratio, step = log_ratio(z), z[1] - z[0]
    q = np.exp(ratio + scipy.stats.norm.logpdf(z)) * step
    order = ratio.argsort()
    threshold = ratio[order][np.searchsorted(q[order].cumsum(), 0.05)]
    expected = (scipy.stats.norm.pdf(z) * step)[ratio < threshold].sum()
    row = found.shares.loc["log_ratio"]
    assert expected > 0.3 and row.nominal == pytest.approx(0.05, abs=2e-3)
    assert abs(row.share - expected) < Z_LIMIT * row.error
    assert found.prior.log_ratio.to_numpy() == pytest.approx(log_ratio(found.z[:, 0].numpy()))
    middle = np.abs(found.z[:, 0].numpy()) < 0.3
    assert found.prior.hole[middle].all()
    # The nearest posterior is that of the nearer side, and 5% of its draws are that far.
    far = scipy.stats.norm.ppf(0.975) * scale
    expected = 1 - 2 * (scipy.stats.norm.cdf(m + far) - scipy.stats.norm.cdf(m - far))
    row = found.shares.loc["distance"]
    assert abs(row.share - expected) < Z_LIMIT * row.error


@pytest.mark.slow
def test_there_is_none_where_the_aggregate_is_the_prior() -> None:
    for latent_dim in (1, 5):
        subject = linear_subject(LinearGaussian(True, latent_dim), 1000, 2000)
        for row in find_holes(subject, alpha=0.05).shares.itertuples():
            assert abs(row.share - row.nominal) < Z_LIMIT * row.error


@pytest.mark.slow
def test_both_samples_are_compared_as_a_whole() -> None:
    subject, *_ = clusters(400, 500)
    found = find_holes(subject)
    assert list(found.held_out.index) == list(subject.split.names[1::2])
    for name, sign in (("log_ratio", 1), ("distance", -1)):
        prior, held_out = (sign * table[name] for table in (found.prior, found.held_out))
        row, expected = found.shares.loc[name], scipy.stats.ks_2samp(prior, held_out)
        assert row.ks == pytest.approx(expected.statistic)
        assert row.p_value < 1e-10 and expected.pvalue < 1e-10
        assert row.covered == (prior > held_out.median()).mean() < 0.4


def test_the_p_value_of_a_share_is_exact() -> None:
    for beyond, draws, k, count in ((0, 50, 2, 99), (3, 50, 2, 99), (30, 400, 5, 249)):
        expected = scipy.stats.betabinom.sf(beyond - 1, draws, k, count + 1 - k)
        found = share_p_value(beyond, draws, k / (count + 1), count)
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_what_is_said_of_coverage_follows_from_the_tests() -> None:
    subject, *_ = clusters(400, 500)
    found = section(subject)
    row = found.tables["holes"].loc["log_ratio"]
    assert "less covered by posteriors than held-out encodings are" in found.says[0]
    assert f"{row.share:.1%} of the prior's draws" in found.says[0]
    assert f"{row.nominal:.1%} of the held-out encodings have" in found.says[0]
    assert found.symptoms["holes"] == row.share - row.nominal > 0.2
    assert f"{row.covered:.1%} of the prior's draws are better covered" in found.says[1]
    fine = section(linear_subject(LinearGaussian(True), 400, 500))
    assert fine.says[0].startswith("No difference of coverage was found")
    assert fine.symptoms["holes"] == 0
    assert "No difference was found" in " ".join(fine.says)


@pytest.mark.slow
def test_a_difference_stands_before_the_numbers_that_show_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, *_ = clusters(400, 500)
    found = find_holes(subject)
    rows = found.shares.assign(share=0.01, nominal=0.03, share_p=0.95, covered=0.6, p_value=1.0)
    for row, words in (("log_ratio", "20.0% of the prior's draws"), ("distance", "1.0%")):
        shares = rows.copy()
        shares.loc[row, ["covered", "p_value"]] = 0.2, 1e-9
        named = "pyrovae.inspection.sections.holes.find_holes"
        changed = replace(found, shares=shares)
        monkeypatch.setattr(named, lambda subject, own=changed: own)
        answer = section(subject)
        assert answer.says[0].startswith("Draws of the prior are less covered by posteriors")
        assert f"encodings are: {words}" in answer.says[0] and "p = 1e-09" in answer.says[0]
        assert answer.symptoms["holes"] == 0


@pytest.mark.slow
def test_encodings_of_near_duplicates_are_no_hole_of_the_prior() -> None:
    """Each image stands among the used and the held-out ones: nearly no draw is so covered."""
    linear = LinearGaussian(True, 6, 0.3)
    subject = linear_subject(linear, 200, 500)
    images = np.repeat(subject.split.images, 2, 0)
    subject = replace(subject, split=split_of(torch.from_numpy(images)))
    found = section(subject)
    assert found.tables["holes"].loc["log_ratio"].share > 0.5
    assert found.says[0].startswith("Draws of the prior are less covered by posteriors")
    assert "does not imply a region without encodings" in found.says[0]
    assert not any("No test" in line or "No difference of coverage" in line for line in found.says)
    assert found.symptoms["holes"] == 0


@pytest.mark.slow
def test_the_share_of_equal_samples_is_nominal_on_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An error is then known to 7%, and the mean of 200 errors well enough.
    monkeypatch.setattr(holes, "RESAMPLINGS", 100)
    found = [share_beyond(*RANDOM.normal(size=(2, 99)), 0.05) for _ in range(200)]
    shares, errors, nominal, _ = np.array(found).T
    assert nominal[0] == pytest.approx(0.05)
    assert_mean(torch.from_numpy(shares), 0.05)
    assert 0.7 < errors.mean() / shares.std() < 1.4


def test_the_nearest_posterior_is_that_of_a_naive_loop() -> None:
    z, loc, scale = RANDOM.normal(size=(3, 40, 3))
    scale = np.abs(scale) + 0.1
    expected = [
        min(np.linalg.norm((a - m) / s) for m, s in zip(loc, scale, strict=True)) for a in z
    ]
    assert nearest_posteriors(z, loc, scale) == pytest.approx(expected)


@pytest.mark.slow
def test_densities_are_those_of_one_image_where_there_is_one() -> None:
    linear = LinearGaussian()
    vae, images = as_drawn(linear.vae()), linear.images(1)
    z = torch.randn(7, 2, dtype=torch.float64)
    found = log_mixture(PosteriorView(vae, split_of(images), CPU), {"z": z})
    assert torch.allclose(found, vae.encode(images[0]).log_prob(z))


@pytest.mark.slow
def test_every_option_changes_something() -> None:
    subject, *_ = clusters(200, 300)
    default, other = find_holes(subject), find_holes(subject, alpha=0.2)
    assert default.shares.nominal["log_ratio"] == pytest.approx(5 / 101)
    assert other.shares.nominal["log_ratio"] == pytest.approx(20 / 101)
    again = find_holes(subject_of(subject.programs, subject.split, subject.budget, seed=1))
    assert not np.array_equal(default.prior.log_ratio, again.prior.log_ratio)


@pytest.mark.slow
def test_several_sites_have_few_posteriors_in_the_mixture() -> None:
    for make, images in ((small_vae, 60), (MAKERS["two latents"], 16)):
        found = find_holes(small_subject(make()))
        assert found.images == images and len(found.held_out) == 60


def test_held_out_images_are_not_read_for_their_attributes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject, observed = small_subject(MAKERS["conditional"]()), Subject.observed

    def few(self: Subject, split: Split) -> object:
        assert len(split) == 1
        return observed(self, split)

    monkeypatch.setattr(Subject, "observed", few)
    assert len(find_holes(subject).held_out) == 60


@pytest.mark.slow
def test_extremes_are_the_worst_and_the_best() -> None:
    found = find_holes(clusters(200, 300)[0])
    deep, dense = found.extremes(5)
    ratio = found.prior.log_ratio.to_numpy()
    assert (ratio[deep] == np.sort(ratio)[:5]).all()
    assert (ratio[dense] == np.sort(ratio)[:-6:-1]).all()
    assert found.prior.hole[deep].all() and not found.prior.hole[dense].any()


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_vae, *MAKERS.values()], ids=["vae", *MAKERS])
def test_the_section_takes_any_programs_and_leaves_them_alone(make: type) -> None:
    subject, found = sound_section(section, make(), whole=make is small_vae)
    assert set(found.tables) == {
        "holes",
        "hole_draws",
        "hole_held_out",
        "aggregate_marginals",
        "aggregate_planes",
        "aggregate_mmd",
    }
    names = [subject.space.names[column] for column in subject.columns]
    assert list(found.tables["aggregate_marginals"].index) == names
    assert len(found.tables["hole_draws"]) == subject.budget.draws
    for table in found.tables.values():
        assert table.notna().all().all()


def nothing_drawn(*args: object) -> Figure:
    return Figure()


@pytest.mark.slow
@pytest.mark.parametrize("parts", FAMILIES, ids=map("-".join, FAMILIES))
def test_every_prior_and_posterior_has_an_aggregate(
    parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("coverage", "marginals", "planes"):  # Drawn from numbers of any family.
        monkeypatch.setattr(f"pyrovae.inspection.sections.holes._draw_{name}", nothing_drawn)
    vae = make_vae(*parts)
    split = split_of(make_images(vae.likelihood, 110))
    found = section(subject_of(vae, split, Budget(110, 3, 100, 2, 20, 1, 50)))
    for table in found.tables.values():
        assert table.notna().all().all()


@pytest.mark.slow
def test_a_posterior_without_a_density_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae()
    subject = small_subject(vae)
    assert len(subject.encoded)
    own = type(vae.guide.z_dist(torch.zeros(1, 3, 16, 16)).base_dist)
    for error in (NotImplementedError, KeyError):

        def refuse(self: object, value: object, error: type = error) -> None:
            raise error("no inverse")

        monkeypatch.setattr(own, "log_prob", refuse)
        with pytest.raises(InputError, match="^a posterior cannot evaluate its density"):
            find_holes(subject)
        found = section(subject)
        assert "aggregate_planes" in found.tables and "holes" not in found.tables
        assert "There was no search for holes: a posterior cannot" in found.says[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "lost"), [(99, 1), (79, 2), (19, 4)])
def test_what_needs_more_images_does_not_keep_the_rest_from_being_made(
    count: int, lost: int
) -> None:
    subject = small_subject(small_vae(), count)
    if lost == 4:
        with pytest.raises(InputError, match="^19 draws .*is 20 or more$"):
            section(subject)
        return
    found = section(subject)
    reasons = ["There was no search for holes: [97]9 images", "Planes were not compared: 79 draws"]
    told = [said for said in found.says if any(re.match(own, said) for own in reasons)]
    assert len(told) == lost and all(said.endswith(".") for said in found.says)
    expected = ["aggregate_marginals", "aggregate_planes", "aggregate_mmd"]
    assert list(found.tables) == [name for name in expected if lost < 2 or "planes" not in name]
    assert set(found.figures) == set(expected[: 3 - lost])


@pytest.mark.slow
def test_only_the_sites_that_are_asked_for_are_shown() -> None:
    whole = small_subject(MAKERS["two latents"]())
    every, found = section(whole), section(replace(whole, sites=("z2",)))
    table = found.tables["aggregate_marginals"]
    assert list(table.index) == ["z2[0]", "z2[1]"]
    assert table.distance.equals(every.tables["aggregate_marginals"].distance[table.index])
    assert found.tables["aggregate_planes"]["first"].tolist() == ["z2[0]"]
    for name in ("holes", "aggregate_mmd"):
        assert found.tables[name].equals(every.tables[name])
    assert any("Only the dimensions of z2 are shown" in said for said in found.says)
    with pytest.raises(InputError, match="unknown site 'z3'; allowed are z1, z2"):
        section(replace(whole, sites=("z3",)))


@pytest.mark.slow
def test_dimensions_are_counted_by_whole_numbers() -> None:
    drawing = section(small_subject(small_vae())).figures["aggregate_marginals"]
    drawing.figure.draw_without_rendering()
    ticks = drawing.figure.axes[0].get_xticks()
    assert len(ticks) and np.array_equal(ticks, ticks.round())


@pytest.mark.slow
def test_captions_state_how_many_images_of_which_split() -> None:
    for name, drawing in section(small_subject(small_vae())).figures.items():
        assert "n = 120 images of the split test" in drawing.caption, name


@pytest.mark.slow
def test_bad_input_is_one_line() -> None:
    with pytest.raises(InputError, match="^99 images are too few to look for holes: allowed is 1"):
        find_holes(small_subject(small_vae(), 99))
    for alpha in (0.001, 1.0, -1.0):
        with pytest.raises(InputError, match="for 60 held-out images: allowed is 0.016 to 1"):
            find_holes(small_subject(small_vae()), alpha=alpha)
