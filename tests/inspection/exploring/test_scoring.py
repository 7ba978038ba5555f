"""Log p(x) in pieces against the exact evidence, and p-values against an enumeration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pyrovae import ModelGuidePair
from pyrovae.evaluation.evidence import summary, weights_of_images
from pyrovae.inspection.exploring import Evidences, two_sided
from tests.support.oracle_subjects import linear_subject, small_subject
from tests.support.oracles import LinearGaussian
from tests.support.small import small_vae


@pytest.mark.slow
def test_log_evidence_is_exact_for_the_exact_posterior() -> None:
    linear = LinearGaussian(orthogonal=True)
    subject = linear_subject(linear, 30)
    found = Evidences(subject, 25)
    expected = linear.log_evidence(torch.from_numpy(subject.split.images)).numpy()
    assert found.of(7).log_evidence == pytest.approx(expected[7])
    assert found.done == pytest.approx(1 / 30) and list(found.known.index) == [7]
    while found.done < 1:
        found.work(0.01)
    assert found.table.log_evidence.to_numpy() == pytest.approx(expected)
    assert found.table.error.to_numpy() == pytest.approx(np.zeros(30), abs=1e-6)


@pytest.mark.slow
def test_an_estimate_does_not_depend_on_the_order_and_is_that_of_the_inspection() -> None:
    subject = small_subject(small_vae(), 12)
    first, second = Evidences(subject, 30), Evidences(subject, 30)
    second.work(60.0)
    rows = np.array([11])
    passes = weights_of_images(
        subject.programs, subject.split, 30, engine=subject.engine, first=11, rows=rows
    )
    expected = summary(next(passes)).iloc[0]
    for own in (first, second):
        assert own.of(11).equals(own.table.loc[11])
        assert own.of(11).to_numpy() == pytest.approx(expected.to_numpy(), nan_ok=True)


def test_work_stops_after_its_time_and_does_at_least_one() -> None:
    found = Evidences(small_subject(small_vae(), 20), 25)
    found.work(0.0)
    assert found.done == 1 / 20
    found.work(0.0)
    assert found.done == 2 / 20


def test_without_a_density_nothing_is_known_and_the_work_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> ModelGuidePair:
        raise NotImplementedError

    subject = small_subject(small_vae(), 20)
    monkeypatch.setattr("pyrovae.inspection.exploring.scoring.weights_of_images", refuse)
    found = Evidences(subject, 25)
    found.work(60.0)
    assert found.done == 1 and found.table.isna().all(axis=None)
    assert math.isnan(found.of(3).log_evidence)


@pytest.mark.parametrize("count", [9, 24])
def test_the_p_value_is_valid_for_every_rank(count: int) -> None:
    reference = np.arange(count, dtype=float)
    # A value of the same distribution falls with equal probability into each of these gaps.
    values = np.array([two_sided(rank - 0.5, reference) for rank in range(count + 1)])
    for alpha in np.unique(values):
        assert (values <= alpha).mean() <= alpha + 1e-12
    assert values[0] == values[-1] == pytest.approx(2 / (count + 1))
    assert np.array_equal(values, values[::-1]) and values.max() <= 1
    assert math.isnan(two_sided(math.nan, reference))
