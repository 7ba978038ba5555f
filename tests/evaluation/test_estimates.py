"""Means with their errors, and log p(x) of all images from the draws of some."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyrovae import Bernoulli, DynamicBinarization, Engine
from pyrovae.commands.evaluate import open_run
from pyrovae.commands.inspect import open_subject
from pyrovae.evaluation import Estimate
from pyrovae.evaluation.comparison import compare
from pyrovae.evaluation.opened import Opened
from pyrovae.evaluation.run_scores import OF_DRAWS, RunScores
from pyrovae.evaluation.scoring import Options, Scorer
from tests.support.commands import TINY, run
from tests.support.small import small_data, small_vae

SECTIONS = ["elbo", "evidence"]
SETTINGS = {"checkpoint": "best"}


def report(root: Path, count: int, seed: int = 0, sections: list[str] = SECTIONS) -> RunScores:
    vae = small_vae(seed).eval()
    options = Options(num_samples=30, evidence_images=count)
    scorer = Scorer(vae, small_data(num_train=60, num_test=40), options, Engine("cpu", "fp32"))
    return Opened(root, scorer, SETTINGS).score(sections)


def test_a_sum_known_of_all_is_the_mean_of_the_sums() -> None:
    x, d = np.random.default_rng(0).normal(size=(2, 50))
    groups = np.arange(50) // 3
    for own in (None, groups):
        found, expected = Estimate.of_sum(x, d, np.arange(50), own), Estimate.of(x + d, own)
        assert found.value == pytest.approx(expected.value)
        assert found.error == pytest.approx(expected.error)


def test_what_does_not_vary_is_known_from_two_images() -> None:
    x, d = np.random.default_rng(0).normal(size=50), np.full(2, 3.0)
    expected = Estimate.of(x)
    found = Estimate.of_sum(x, d, np.arange(2))
    assert found.value == pytest.approx(expected.value + 3)
    assert found.error == pytest.approx(expected.error)
    one = Estimate.of_sum(x, d[:1], np.arange(1))
    assert one.value == found.value and one.error is not None and math.isnan(one.error)


def test_equal_groups_have_the_error_of_their_means() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=12)
    values = (means[:, None] + rng.normal(size=(12, 5))).ravel()
    order = rng.permutation(60)
    found = Estimate.of(values[order], np.repeat(list("abcdefghijkl"), 5)[order])
    expected = Estimate.of(values.reshape(12, 5).mean(1))
    assert found.value == pytest.approx(expected.value)
    assert found.error == pytest.approx(expected.error)


def test_groups_of_one_image_change_nothing() -> None:
    x, d = np.random.default_rng(0).normal(size=(2, 5000))
    each, rows = np.arange(5000), np.arange(0, 5000, 5)
    assert Estimate.of(x, each) == Estimate.of(x)
    plain = Estimate.of_sum(x, d[rows], rows)
    grouped = Estimate.of_sum(x, d[rows], rows, each)
    assert grouped.value == plain.value
    assert grouped.error == pytest.approx(plain.error, rel=2e-3)  # n - 1 in place of n.
    assert math.isnan(Estimate.of(x, np.zeros(5000)).error or 0)


@pytest.mark.slow
@pytest.mark.parametrize("known", [1.0, 0.3])
def test_errors_of_correlated_images_are_right(known: float) -> None:
    """Over 2,000 repeats the variance has a relative error of 0.04; 5 of them are 1 in 10^6.

    With 50 unequal groups the estimated variance is about 4% too small.
    """
    rng, repeats = np.random.default_rng(1), 2000
    values, errors, plain = np.empty(repeats), np.empty(repeats), np.empty(repeats)
    for repeat in range(repeats):
        groups = np.repeat(np.arange(50), rng.integers(1, 8, 50))
        x, d = rng.normal(size=(2, 50))[:, groups] + rng.normal(size=(2, len(groups)))
        rows = np.arange(0, len(groups), round(1 / known))
        found = Estimate.of_sum(x, d[rows], rows, groups)
        values[repeat], errors[repeat] = found.value, found.error or 0
        plain[repeat] = Estimate.of_sum(x, d[rows], rows).error or 0
    assert np.square(errors).mean() / values.var() == pytest.approx(0.96, abs=0.2)
    assert np.square(plain).mean() < 0.75 * values.var()


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [3, 5, 10])
def test_errors_of_a_sum_known_of_few_groups_are_right(drawn: int) -> None:
    """Over 4,000 repeats the variance has a relative error of 0.03, or less; the limit is 5."""
    rng, repeats = np.random.default_rng(2), 4000
    values, variances = np.empty(repeats), np.empty(repeats)
    groups = np.arange(100).repeat(4)
    for repeat in range(repeats):
        x, d = rng.normal(size=(2, 100))[:, groups] + 0.3 * rng.normal(size=(2, len(groups)))
        rows = np.flatnonzero(groups % (100 // drawn) == 0)[: 4 * drawn]
        found = Estimate.of_sum(x, 3 * d[rows], rows, groups)
        values[repeat], variances[repeat] = found.value, (found.error or 0) ** 2
    assert variances.mean() / values.var() == pytest.approx(1, abs=0.15)
    one = Estimate.of_sum(x, d[:4], np.arange(4), groups)
    assert one.error is not None and math.isnan(one.error)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [-0.3, 0.0, 0.3])
def test_the_error_of_a_sum_is_right(slope: float) -> None:
    """Over 2,000 repeats the variance has a relative error of 0.032; 5 of them are 1 in 10^6."""
    rng, repeats = np.random.default_rng(1), 2000
    values, errors = np.empty(repeats), np.empty(repeats)
    for repeat in range(repeats):
        x = rng.normal(size=100)
        d = 1 + slope * x + 0.5 * rng.normal(size=100)
        found = Estimate.of_sum(x, d[:20], np.arange(20))
        values[repeat], errors[repeat] = found.value, found.error
    assert values.var() / (errors**2).mean() == pytest.approx(1, abs=0.16)
    assert abs(values.mean() - 1) < 5 * values.std() / math.sqrt(repeats)


@pytest.mark.slow
def test_log_p_of_all_images_from_draws_of_some(tmp_path: Path) -> None:
    some, whole = report(tmp_path, 13), report(tmp_path, 0)
    each = some.each_image
    assert list(each["name"]) == list(whole.each_image["name"])
    known = each["log_evidence"].notna()
    places = np.linspace(0, 39, 13).astype(int)
    assert list(np.flatnonzero(known)) == list(places)
    scores = some.scores["vae"]
    assert scores["elbo"] == whole.scores["vae"]["elbo"]
    assert scores["log_evidence"].value == pytest.approx(
        scores["elbo"].value + scores["gap"].value
    )
    gap = (each["log_evidence"] - each[OF_DRAWS])[known]
    assert scores["gap"].value == pytest.approx(gap.mean())
    other = whole.scores["vae"]["log_evidence"]
    assert other.error is not None and scores["log_evidence"].error is not None
    # The images are the same, so most of both errors is too.
    assert abs(scores["log_evidence"].value - other.value) < 3 * other.error
    assert scores["log_evidence"].error < Estimate.of(each["log_evidence"][known]).error  # type: ignore
    assert "30 draws for 13 of them, and the ELBO of all" in str(some)
    assert "of them" not in str(whole)
    some.write()
    written = pd.read_csv(tmp_path / "evaluation_images.csv")
    assert written["k_hat"].notna().sum() == 13 and len(written) == 40


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 40, 41])
def test_as_many_as_there_are_is_all(count: int, tmp_path: Path) -> None:
    scores = report(tmp_path, count, sections=["evidence"]).scores
    assert scores == report(tmp_path, 0, sections=["evidence"]).scores


def test_the_bound_of_all_is_there_when_it_was_needed(tmp_path: Path) -> None:
    some = report(tmp_path, 13, sections=["evidence"])
    assert some.scores["vae"]["log_evidence"].value == pytest.approx(
        report(tmp_path, 13).scores["vae"]["log_evidence"].value
    )
    assert some.each_image["rate"].notna().all() and some.each_image[OF_DRAWS].count() == 13


@pytest.mark.slow
def test_differences_of_all_images_from_draws_of_some(tmp_path: Path) -> None:
    first, other = report(tmp_path / "a", 13), report(tmp_path / "b", 13, seed=1)
    (tmp_path / "a").mkdir()
    compare([first, other], tmp_path / "a")
    table = pd.read_csv(tmp_path / "a" / "comparison.csv")
    found = table[table.score == "more_than_first"].iloc[0]
    means = [own.scores["vae"]["log_evidence"].value for own in (first, other)]
    assert found.value == pytest.approx(means[1] - means[0])
    assert 0 < found.error < first.scores["vae"]["log_evidence"].error  # type: ignore[operator]
    assert found.evidence_images == 13


@pytest.mark.slow
def test_images_are_the_same_observations_whether_some_or_all_are_drawn_for() -> None:
    data, engine = small_data(num_train=60, num_test=45), Engine("cpu", "fp32")
    vae = small_vae(likelihood=Bernoulli(DynamicBinarization())).eval()

    def bounds(count: int) -> pd.DataFrame:
        options = Options(num_samples=400, evidence_images=count)
        return Scorer(vae, data, options, engine).evidence

    whole, some = bounds(0), bounds(7)
    assert list(some.index) == list(np.linspace(0, 44, 7).astype(int))
    apart = (whole["elbo"].loc[some.index] - some["elbo"]).abs()
    # Both are means of 400 draws of the same terms; other binary pixels move them by 10 nats.
    assert apart.max() < 2
    assert whole["name"].loc[some.index].equals(some["name"])


@pytest.mark.slow
def test_a_run_whose_images_were_changed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "run"
    assert run("train", [*TINY, f"--run_dir={root}"], monkeypatch) == 0
    caplog.clear()
    open_run(root, Options())
    open_subject(root)
    assert not caplog.records
    config = root / "config.yaml"
    text = config.read_text()
    changed = re.sub(r"(?m)^(  init_args:\n(?:    .*\n)*?    seed): \d+$", r"\1: 7", text, count=1)
    assert changed != text
    config.write_text(changed)
    open_run(root, Options())
    open_subject(root)
    told = [record.message for record in caplog.records]
    assert len(told) == 2 and all("the training images have changed" in line for line in told)
