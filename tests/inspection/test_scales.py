"""Likelihoods on other scales than [0, 1] are shown on their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyrovae import SharedScaleNormal
from pyrovae.inspection.posterior import predictive
from pyrovae.inspection.scales import scale_of
from pyrovae.inspection.sections.calibration import section as calibration
from pyrovae.inspection.sections.posterior import section as posterior
from pyrovae.inspection.sections.typical import section as typical
from pyrovae.inspection.typical import prior_statistics, replicate
from tests.support.counts import Poisson
from tests.support.oracle_subjects import small_subject
from tests.support.small import small_data, small_vae


def test_the_scale_is_that_of_the_observations() -> None:
    images = small_data().split("test").images
    assert scale_of(SharedScaleNormal(), images) == (0.0, 1.0)
    counts = images // 10
    assert scale_of(Poisson(), images) == (counts.min(), counts.max()) and counts.max() > 20
    assert scale_of(Poisson(), images // 20) == (0.0, (images // 20).max() // 10)


@pytest.mark.slow
def test_statistics_of_counts_are_counts() -> None:
    subject = small_subject(small_vae(likelihood=Poisson()), 60)
    found = replicate(subject.programs, subject.split, subject.engine)
    own = found.statistics.unstack()["observed"]
    counts = torch.from_numpy(subject.split.images // 10).double()
    assert own["brightness"].to_numpy() == pytest.approx(counts.mean((1, 2, 3)).numpy())
    low, high = counts.min(), counts.max()
    margin = 0.02 * (high - low)
    extreme = (counts < low + margin) | (counts > high - margin)
    expected = extreme.double().mean((1, 2, 3)).numpy()
    assert own["extremes"].to_numpy() == pytest.approx(expected, abs=1e-6)
    drawn = prior_statistics(subject, 50)
    assert not np.allclose(drawn["extremes"], 1)


def test_the_noise_of_counts_is_shown_between_black_and_white() -> None:
    vae = small_vae(likelihood=Poisson()).eval()
    subject = small_subject(vae, 60)
    x, _ = subject.observed(subject.shown)
    with torch.no_grad():
        torch.manual_seed(0)
        counts = predictive(subject.space, x)
        torch.manual_seed(0)
        shown = predictive(subject.space, x, scale=(0.0, 25.0))
    assert torch.allclose(shown.spread * 25, counts.spread)
    assert float(shown.spread.max()) < 1 < float(counts.spread.max()) * 25


@pytest.mark.slow
def test_sections_of_counts_state_their_scale() -> None:
    subject = small_subject(small_vae(likelihood=Poisson()), 60)
    found = typical(subject)
    assert "from 0 to 25" in found.figures["predictive_checks"].caption
    assert "pixel_gain" not in found.tables["dispersion"].index
    for section in (calibration, posterior):
        assert section(subject).says
