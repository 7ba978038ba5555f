"""Refined posteriors and the gaps they tell, against closed forms on linear Gaussian VAEs."""

from __future__ import annotations

import dataclasses
import math
import sys

import pandas
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyrovae import VAE, DiagonalNormal, InputError, Normal, StandardNormal
from pyrovae.evaluation.evidence import many_log_weights
from pyrovae.inspection.gaps import _split, gaps
from pyrovae.inspection.offsets import OffsetGuide
from pyrovae.inspection.refinement import refine_full_rank, refine_guide, with_guide
from pyrovae.inspection.section import Section
from pyrovae.inspection.sections.gaps import _symptoms, section
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.space import LatentSpace
from tests.support.oracles import LinearDecoder, LinearEncoder, covariance_features
from tests.support.subjects import (
    EFFORT,
    SUBJECTS,
    Linear,
    nothing_changes,
    shortened,
    subject,
    subject_of,
    subject_of_parts,
)
from tests.support.tables import Z_LIMIT

pytestmark = pytest.mark.slow

DIM = 3


@pytest.fixture(autouse=True)
def short_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other modes, which these posteriors lack, are searched for in fewer steps."""
    monkeypatch.setattr("pyrovae.inspection.modes.STEPS", 20)


def mean_field(linear: Linear, offset: float = 0.1, width: float = 2.0) -> VAE:
    """A VAE whose guide is diagonal, too wide and off the mean; the posterior is tilted."""
    dim = len(linear.covariance)
    posterior = DiagonalNormal(dim)
    to_mean = linear.covariance @ linear.weight.T / linear.sigma**2
    wide = torch.diag(width * linear.covariance.diagonal())
    return VAE(
        encoder=LinearEncoder(to_mean, linear.bias + offset, covariance_features(posterior, wide)),
        decoder=LinearDecoder(linear.weight, linear.bias, linear.shape),
        prior=StandardNormal(dim).double(),
        likelihood=Normal(linear.sigma),
        posterior=posterior,
    )


def elbos(vae: VAE, guide: object, x: Tensor) -> tuple[Tensor, Tensor]:
    log_w = many_log_weights(with_guide(vae, guide), 2000, x)  # type: ignore[arg-type]
    return log_w.mean(0), log_w.std(0) / math.sqrt(len(log_w))


@torch.no_grad()
def closed_forms(linear: Linear, vae: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """KL of the guide, and of the best diagonal Normal, from the posterior: each `(B,)`."""
    exact, q = linear.posterior(x), vae.encode(x)
    full = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    diagonal = exact.precision_matrix.diagonal(0, -2, -1)
    best = torch.distributions.MultivariateNormal(exact.mean, torch.diag_embed(1 / diagonal))
    kl = torch.distributions.kl_divergence
    return kl(full, exact), kl(best, exact)


def divergence_from_posterior(linear: Linear, guide: OffsetGuide, x: Tensor) -> Tensor:
    """KL of a diagonal guide from the exact posterior, `(B,)`."""
    q = poutine.trace(guide).get_trace(x).nodes["z"]["fn"]
    full = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    return torch.distributions.kl_divergence(full, linear.posterior(x))


@pytest.fixture
def linear() -> Linear:
    return Linear(latent_dim=DIM, sigma=1.0)


def test_the_own_family_reaches_its_best(linear: Linear) -> None:
    vae, x = mean_field(linear), linear.images(4)
    space = LatentSpace.of(vae, x)
    with torch.no_grad():
        refined = refine_guide(space, x, steps=20)
        found, error = elbos(vae, refined, x)
    _, gap = closed_forms(linear, vae, x)
    best = linear.log_evidence(x) - gap
    assert (gap > 0.05).all()
    assert ((found - best).abs() <= Z_LIMIT * error + 0.01).all(), (found, best, error)


@pytest.mark.parametrize(
    ("dim", "sigma", "offset", "width", "steps"),
    [(8, 0.1, 0.3, 10.0, 50), (3, 1.0, 0.1, 1e-4, 15)],
)
def test_refinement_goes_on_until_nothing_is_gained(
    dim: int, sigma: float, offset: float, width: float, steps: int
) -> None:
    """From a guide far off: one round alone stops some tenths of a nat below the best."""
    linear = Linear(latent_dim=dim, sigma=sigma)
    vae, x = mean_field(linear, offset, width), linear.images(4)
    with torch.no_grad():
        refined = refine_guide(LatentSpace.of(vae, x), x, steps=steps)
        whole, best = closed_forms(linear, vae, x)
        short = divergence_from_posterior(linear, refined, x) - best
    assert (whole - best > 10).all()
    assert (short.abs() < 0.05).all(), short


def test_full_rank_reaches_the_evidence(linear: Linear) -> None:
    vae, x = mean_field(linear), linear.images(4)
    with torch.no_grad():
        for steps, limit in ((0, 1e-6), (50, 1e-2)):
            refined = refine_full_rank(LatentSpace.of(vae, x), x, steps=steps)
            found, error = elbos(vae, refined, x)
            assert ((found - linear.log_evidence(x)).abs() < limit).all() and error.max() < limit
            exact = linear.posterior(x)
            assert torch.allclose(refined.loc, exact.mean, atol=10 * limit)
            covariance = refined.z_dist().covariance_matrix  # type: ignore[attr-defined]
            assert torch.allclose(covariance, exact.covariance_matrix, atol=10 * limit)


def test_the_gaps_are_divergences(linear: Linear) -> None:
    vae, x = mean_field(linear), linear.images(3)
    with torch.no_grad():
        found = gaps(LatentSpace.of(vae, x), x, steps=20, num_samples=3000)
    whole, approximation = (gap.numpy() for gap in closed_forms(linear, vae, x))
    table, limit = found.table, Z_LIMIT * found.table["elbo_error"] + 0.02
    assert not found.notes
    assert (abs(table["log_evidence"] - linear.log_evidence(x).numpy()) < 1e-2).all()
    assert (abs(table["gap"] - whole) <= limit).all()
    assert (abs(table["approximation_gap"] - approximation) <= limit).all()
    assert (abs(table["amortisation_gap"] - (whole - approximation)) <= 2 * limit).all()
    assert (
        table["gap"] - table["amortisation_gap"] - table["approximation_gap"]
    ).abs().max() < 1e-9
    assert (table["ess_full_rank"] > 0.99 * 3000).all()


@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("posterior", ["HouseholderFlow", "InverseAutoregressiveFlow", "Laplace"])
def test_any_family_gets_better_and_keeps_its_weights(posterior: str) -> None:
    whole = subject_of_parts(posterior=posterior)
    x, _ = whole.observed(whole.split.take([0, 1]))
    with nothing_changes(whole.programs):
        space = whole.space
        with whole.quietly():
            refined = refine_guide(space, x, steps=10)
            before, after = (
                many_log_weights(with_guide(whole.programs, g), 200, x).mean(0)
                for g in (whole.programs.guide, refined)
            )
    assert (after > before).all()


@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("name", ["two named networks", "conditional"])
def test_offsets_keep_what_latents_tell_of_each_other(name: str) -> None:
    whole = subject(SUBJECTS[name]())
    x, inputs = whole.observed(whole.split.take([0, 1, 2]))
    with whole.quietly():
        start = OffsetGuide(whole.programs, x, **inputs)
        assert len(start.free) == (2 if name == "two named networks" else 1)
        drawn = []
        for guide in (whole.programs.guide, start):
            torch.manual_seed(0)
            pair = LatentSpace(with_guide(whole.programs, guide), whole.space.shapes)
            drawn.append(pair.guide_draws(2, x, **inputs))
        assert torch.equal(*drawn)
        refined = refine_guide(whole.space, x, inputs, steps=20)
        before, after = (
            many_log_weights(with_guide(whole.programs, g), 100, x, None, **inputs).mean(0)
            for g in (start, refined)
        )
    assert (after > before + 1).all()


@pytest.mark.usefixtures("short_fits")
def test_every_option_matters(linear: Linear) -> None:
    vae, x = mean_field(linear), linear.images(2)
    space, found = LatentSpace.of(vae, x), []
    for options in ({}, {"steps": 6}, {"num_particles": 3}, {"learning_rate": 0.2}):
        torch.manual_seed(0)
        found.append(refine_guide(space, x, **({"steps": 5} | options)).free[0])  # type: ignore[arg-type]
    assert all(not torch.equal(found[0], other) for other in found[1:])
    vae, trils = subject_of_parts(), []
    x, _ = vae.observed(vae.split.take([0]))
    for options in ({}, {"steps": 9}, {"num_particles": 3}, {"learning_rate": 0.2}):
        with vae.quietly():
            refined = refine_full_rank(vae.space, x, **({"steps": 8} | options))  # type: ignore[arg-type]
        trils.append(refined.scale_tril)
    assert all(not torch.equal(trils[0], other) for other in trils[1:])


def test_bad_weights_count_as_the_bound_that_was_measured() -> None:
    """Weights with heavy tails gave the guide's own log p(x), far below the other ELBOs."""
    bad = {"error": math.nan, "elbo_error": 1.0, "ess": 1.5, "k_hat": 5.0}
    good = bad | {"error": 0.5, "k_hat": 0.3}
    values = {"": (519.0, 575.0), "_own_family": (675.0, 690.0), "_full_rank": (683.0, 700.0)}

    def found(quality: dict[str, dict[str, float]]) -> pandas.DataFrame:
        rows = {
            name: {**quality.get(name, bad), "elbo": elbo, "log_evidence": evidence}
            for name, (elbo, evidence) in values.items()
        }
        return _split({name: pandas.DataFrame([row]) for name, row in rows.items()})

    table = found({})
    assert table["log_evidence"].item() == 700 and table["gap"].item() == 181
    assert table["approximation_gap"].item() == 25
    # An estimate that can be trusted is better than a bound below it, and worse than one above.
    assert found({"_own_family": good})["log_evidence"].item() == 690
    assert found({"": good})["log_evidence"].item() == 700


def test_without_steps_the_guide_stays(linear: Linear) -> None:
    vae, x = mean_field(linear), linear.images(2)
    refined = refine_guide(LatentSpace.of(vae, x), x, steps=0)
    assert all(not offset.any() for offset in refined.free)


@pytest.fixture(scope="module", params=SUBJECTS)
def made(request: pytest.FixtureRequest) -> tuple[str, Subject, Section]:
    """A name, its programs, and the section on them."""
    torch.manual_seed(0)
    whole = subject(SUBJECTS[request.param]())
    with shortened():
        return request.param, whole, section(whole)


def test_modes_of_any_programs_are_searched(made: tuple[str, Subject, Section]) -> None:
    found = made[-1]
    assert found.tables["gaps"]["missed_mode"].notna().all()
    assert found.symptoms["missed_mode"] >= -3 * found.symptoms["missed_error"]


@pytest.mark.usefixtures("short_fits")
def test_the_section_of_any_programs(made: tuple[str, Subject, Section]) -> None:
    name, whole, found = made
    with nothing_changes(whole.programs):
        again = section(whole)
    assert found.tables["gaps"].equals(again.tables["gaps"])
    table = found.tables["gaps"]
    assert len(table) == 3 and (table["log_evidence"] > table["elbo"] - 1e-3).all()
    refused = name == "two latents"
    assert table["amortisation_gap"].isna().all() == refused
    assert any("cannot be refined" in said for said in found.says) == refused
    assert set(found.figures) == {"gaps", "reliability", "spread"}
    assert all("n = " in drawing.caption for drawing in found.figures.values())


@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize(
    ("count", "told"), [(2, "2 given images"), (5, "the first 3 of 5 given images")]
)
@pytest.mark.parametrize("made", ["vae"], indirect=True)
def test_the_gaps_of_images_that_the_user_gave_are_told(
    count: int, told: str, made: tuple[str, Subject, Section]
) -> None:
    _, whole, before = made
    assert "n = 3 images of the split test" in before.figures["gaps"].caption
    whole = dataclasses.replace(whole, shown=whole.split.take(range(4, 4 + count)))
    object.__setattr__(whole, "given", True)
    found = section(whole)
    assert list(found.tables["gaps"].index) == list(whole.shown.names)[:3]
    assert told in found.figures["gaps"].caption
    assert any("these results are for the first 3 of 5" in said for said in found.says) == (
        count > 3
    )


@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("made", ["vae"], indirect=True)
def test_another_seed_draws_anew(made: tuple[str, Subject, Section]) -> None:
    name, whole, found = made
    again = section(dataclasses.replace(whole, seed=1))
    assert not found.tables["gaps"].equals(again.tables["gaps"])


@pytest.mark.parametrize("inflation", [4.0, 0.3])
def test_the_section_gives_the_gaps_to_the_judge(inflation: float) -> None:
    """The KL of an inflated guide is known, and all of it is the amortisation gap."""
    budget = dataclasses.replace(EFFORT, steps=40, importance_draws=500)
    found = section(subject_of(Linear(latent_dim=DIM).vae(inflation=inflation), budget))
    exact = DIM / 2 * (inflation - 1 - math.log(inflation))
    noise = Z_LIMIT * found.tables["gaps"]["elbo_error"].max() / 3**0.5
    assert abs(found.symptoms["amortisation"] - exact) < noise + 0.05
    assert abs(found.symptoms["approximation"]) < 0.05
    assert found.symptoms["missed_mode"] == 0 and found.symptoms["gap_error"] >= 0
    assert any("The larger part is the amortisation gap" in said for said in found.says)


def test_images_whose_error_is_unknown_do_not_count_as_modes() -> None:
    gaps = {"amortisation_gap": [1.0, 2.0], "approximation_gap": [0.5, 0.5]}
    table = pandas.DataFrame({**gaps, "missed_mode": [0.7, 9.0], "missed_error": [0.1, math.nan]})
    found = _symptoms(table)
    assert found["missed_mode"] == 0.7 and found["missed_error"] == pytest.approx(0.1)
    assert "missed_mode" not in _symptoms(table.tail(1)) and found["amortisation"] == 1.5


@pytest.mark.usefixtures("short_fits")
def test_refinement_on_a_sphere_takes_any_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws by rejection cannot be replayed from a graph."""
    monkeypatch.setattr("pyrovae.inspection.tracing.OFTEN", 3)
    whole = subject_of_parts(prior="HypersphericalUniform", posterior="VonMisesFisher")
    x, _ = whole.observed(whole.split.take([0, 1]))
    with whole.quietly():
        before = many_log_weights(whole.programs, 200, x).mean(0)
        refined = refine_guide(whole.space, x, steps=8)
        after = many_log_weights(with_guide(whole.programs, refined), 200, x).mean(0)
    assert (after > before - 1).all()


def test_the_encoder_runs_once() -> None:
    whole = subject(SUBJECTS["vae"]())
    x, _ = whole.observed(whole.split.take([0, 1]))
    encoder, calls = whole.programs.guide.encoder, []
    run = encoder.forward
    encoder.forward = lambda *given: (calls.append(given), run(*given))[1]
    with whole.quietly():
        own = OffsetGuide(whole.programs, x)
        own(x)
        assert len(calls) == 1
        own(x.clone())
    assert len(calls) == 2 and "forward" in vars(encoder)


@pytest.mark.usefixtures("short_fits")
def test_a_sphere_has_no_full_rank_normal() -> None:
    whole = subject_of_parts(prior="HypersphericalUniform", posterior="VonMisesFisher")
    found = section(whole)
    assert found.tables["gaps"]["elbo_full_rank"].isna().all()
    assert any("has support sphere" in said for said in found.says)
    assert set(found.figures) == {"gaps", "reliability"}


@pytest.mark.usefixtures("short_fits")
def test_too_many_dimensions_have_no_full_rank_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[gaps.__module__], "MOST_DIMS", 1)
    found = section(subject_of_parts())
    assert found.tables["gaps"]["elbo_full_rank"].isna().all()
    assert found.tables["gaps"]["amortisation_gap"].notna().all()
    assert any("latent dimensions are more than 1." in said for said in found.says)


def test_what_cannot_be_refined_is_said_in_one_line() -> None:
    whole = subject(SUBJECTS["two latents"]())
    x, inputs = whole.observed(whole.split.take([0]))
    with whole.quietly(), pytest.raises(InputError, match="no network of the guide"):
        refine_guide(whole.space, x, inputs, steps=1)
