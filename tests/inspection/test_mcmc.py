"""Chains of single images, against the exact posteriors of linear Gaussian VAEs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from pyrovae import InputError
from pyrovae.inspection.mcmc import Chains, sample_posterior
from pyrovae.inspection.sections.mcmc import _difference, _mixing, section
from pyrovae.inspection.subject import QUICK
from pyrovae.posterior.space import LatentSpace
from tests.support.subjects import (
    EFFORT,
    SUBJECTS,
    Linear,
    nothing_changes,
    subject,
    subject_of_parts,
)
from tests.support.tables import Z_LIMIT

pytestmark = pytest.mark.slow

#: Chains of a few short trees: they are looked at, not how well they mix.
SHORT = dataclasses.replace(EFFORT, tree_depth=1, importance_draws=10)


#: Trees of whitened Normals need no more depth.
LENGTHS = {"warmup": 40, "num_samples": 50, "num_chains": 8, "tree_depth": 3}


@pytest.fixture
def linear() -> Linear:
    return Linear(latent_dim=3, sigma=1.0)


@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("inflation", [0.3, 1.0])
def test_moments_are_the_exact_ones_whatever_the_guide(linear: Linear, inflation: float) -> None:
    vae, x = linear.vae(inflation=inflation), linear.images(1)
    found = sample_posterior(LatentSpace.of(vae, x), x, **LENGTHS)
    table, exact = found.table(), linear.posterior(x)
    sd = exact.stddev[0].numpy()
    ess = table["ess"].clip(100, 400)
    assert (abs(table["mean"] - exact.mean[0].numpy()) <= Z_LIMIT * sd / np.sqrt(ess)).all()
    # Squares mix more slowly than values, by a factor of at most 4 or so.
    assert (abs(table["sd"] / sd - 1) <= Z_LIMIT * np.sqrt(2 / ess)).all()
    ratio = inflation**0.5
    assert (abs(table["ratio"] / ratio - 1) <= Z_LIMIT * np.sqrt(2 / ess) + 0.1).all()
    assert found.r_hat.max() < 1.1 and sum(found.divergences) == 0
    assert found.draws.shape == (8, 50, 3)


def test_divergences_are_those_of_normals() -> None:
    draws, guide = np.random.default_rng(0).normal(size=(2, 4000, 1)), np.ones((2, 1))
    guide = np.random.default_rng(1).normal(1.0, 2.0, size=(8000, 1))
    table = Chains(["z"], draws, guide, [1.0, 1.0], [0, 0]).table()
    assert table["kl"]["z"] == pytest.approx((1 + 4 - 1) / 2 - np.log(2), abs=0.15)
    assert table["shift"]["z"] == pytest.approx(1, abs=0.1)


def test_chains_that_have_not_met_are_told() -> None:
    draws = np.random.default_rng(0).normal(size=(2, 100, 2))
    draws[1, :, 1] += 5
    found = Chains(["a", "b"], draws, draws[0], [1.0, 1.0], [0, 0])
    assert found.r_hat[0] < 1.1 < 2 < found.r_hat[1]


@pytest.mark.parametrize(
    ("count", "apart", "mixed"), [(400, 0.0, True), (400, 0.6, False), (30, 0.0, False)]
)
def test_chains_have_mixed_only_with_enough_draws_of_one_distribution(
    count: int, apart: float, mixed: bool
) -> None:
    draws = np.random.default_rng(0).normal(size=(2, count, 1))
    draws[1] += apart
    said = _mixing("a", Chains(["z"], draws, draws[0], [1.0, 1.0], [0, 0]))
    assert said.endswith("the chains have mixed.") == mixed
    needed = "have not mixed (that needs an R-hat below 1.05 and an effective sample size of 100)"
    assert (needed in said) != mixed


def test_a_ratio_counts_only_beyond_two_of_its_errors() -> None:
    generator = np.random.default_rng(0)
    guide = generator.normal(0, 0.7, size=(2000, 1))
    for count, told in ((4, "0 of 1 dimensions below 0.8"), (1000, "1 of 1 dimensions below")):
        draws = generator.normal(size=(2, count, 1))
        draws = (draws - draws.mean()) / draws.std()
        table = Chains(["z"], draws, guide, [1.0, 1.0], [0, 0]).table()
        assert table["ratio"]["z"] < 0.8 and told in _difference("a", table)


@pytest.mark.parametrize("turn", [0.0, -0.6])
def test_the_error_of_a_ratio_is_how_far_it_spreads(turn: float) -> None:
    """Also of chains that turn back on themselves, whose means are better than their spreads."""
    generator, found = np.random.default_rng(0), []
    for _ in range(200):
        draws, guide = generator.normal(size=(2, 100, 1)), generator.normal(size=(300, 1))
        for step in range(1, 100):
            draws[:, step] = turn * draws[:, step - 1] + (1 - turn**2) ** 0.5 * draws[:, step]
        table = Chains(["z"], draws, guide, [1.0, 1.0], [0, 0]).table()
        found.append((table["ratio"]["z"], table["ratio_error"]["z"]))
    ratios, errors = np.array(found).T
    assert 0.8 < errors.mean() / ratios.std() < 1.25


@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_section_of_any_programs(name: str) -> None:
    whole = subject(SUBJECTS[name](), SHORT)
    with nothing_changes(whole.programs):
        found, again = section(whole), section(whole)
    moments = found.tables["posterior_moments"]
    assert moments.equals(again.tables["posterior_moments"])
    assert list(moments.index.get_level_values("dimension")) == whole.space.names
    assert len(found.tables["chains"]) == 2 and len(found.says) == 3
    assert list(found.tables["chains"]) == ["moved", "divergences"]
    assert "have not mixed" in found.says[0] and "the guide's mean is off by" in found.says[1]
    assert set(found.figures) == {"posterior_marginals", "posterior_moments"}


def test_the_quick_report_has_no_chains() -> None:
    with pytest.raises(InputError, match="^short chains do not mix, .*run without --quick"):
        section(subject(SUBJECTS["vae"](), QUICK))


@pytest.mark.usefixtures("short_fits")
def test_how_many_of_the_images_are_sampled_is_said() -> None:
    whole = subject(SUBJECTS["vae"](), dataclasses.replace(SHORT, refined=6))
    found = section(whole)
    assert len(found.tables["chains"]) == 4 and "first" not in " ".join(found.says)
    whole = dataclasses.replace(whole, shown=whole.split.take(range(5)))
    found = section(whole)
    told = "the first 2 of 5 images of the split test"
    assert told in found.says[-1] and told in found.figures["posterior_moments"].caption
    assert "first of 5 images of the split test" in found.figures["posterior_marginals"].caption


@pytest.mark.usefixtures("short_fits")
def test_only_the_sites_that_are_asked_for_are_shown() -> None:
    whole = subject(SUBJECTS["two latents"](), SHORT)
    every = section(whole)
    found = section(dataclasses.replace(whole, sites=("z2",)))
    table = found.tables["posterior_moments"]
    assert list(table.index.get_level_values("dimension")) == ["z2[0]", "z2[1]"]
    assert table.equals(every.tables["posterior_moments"].loc[table.index])
    assert any("dimensions of z2 are shown" in said for said in found.says)
    assert len(found.figures["posterior_moments"].figure.axes[0].lines[0].get_xdata()) == 2
    mixing = [said for said in every.says if "R-hat is" in said]
    assert mixing and mixing == [said for said in found.says if "R-hat is" in said]
    with pytest.raises(InputError, match="unknown site 'z3'; allowed are z1, z2"):
        section(dataclasses.replace(whole, sites=("z3",)))


@pytest.mark.usefixtures("short_fits")
def test_every_option_matters(linear: Linear) -> None:
    vae, x = linear.vae(), linear.images(1)
    space, found = LatentSpace.of(vae, x), []
    for options in (
        {},
        {"warmup": 3},
        {"num_samples": 5},
        {"num_chains": 1},
        {"tree_depth": 1},
    ):
        torch.manual_seed(0)
        sizes = {"warmup": 2, "num_samples": 4, "tree_depth": 3} | options
        found.append(sample_posterior(space, x, **sizes).draws)  # type: ignore[arg-type]
    assert [draws.shape[:2] for draws in found] == [(2, 4), (2, 4), (2, 5), (1, 4), (2, 4)]
    assert not np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[4])


def test_bad_input_is_named_in_one_line(linear: Linear) -> None:
    vae, x = linear.vae(), linear.images(2)
    space = LatentSpace.of(vae, x)
    with pytest.raises(InputError, match="^2 images: sample_posterior allows one"):
        sample_posterior(space, x)
    for sizes in ({"warmup": 0}, {"num_samples": 3}, {"num_chains": 0}, {"tree_depth": 0}):
        with pytest.raises(InputError, match="must be at least [14], got"):
            sample_posterior(space, x[:1], **sizes)
    whole = subject_of_parts(prior="HypersphericalUniform", posterior="VonMisesFisher")
    with pytest.raises(InputError, match="has support sphere: allowed here is R.D"):
        section(whole)


def test_draws_that_turn_back_count_as_many_but_not_as_endless() -> None:
    """The estimate diverges, and comes out negative, where each draw undoes the last."""
    torch.manual_seed(0)
    signs = torch.tensor([1.0, -1.0]).repeat(50)
    noise = torch.randn(2, 100, 1)
    chains = Chains(["z[0]"], (signs[:, None] + 0.1 * noise).numpy(), noise[0].numpy(), [1], [0])
    most = 200 * math.log10(200)
    assert chains.effective_draws == pytest.approx([most])
    assert chains.table()["ess"].item() == pytest.approx(most)
