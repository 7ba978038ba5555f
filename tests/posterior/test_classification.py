"""Predictions of classes: their error and their calibration."""

from __future__ import annotations

import numpy as np
import pytest

from pyrovae.posterior.classification import Classified, calibration_error


def test_predictions_are_summed_up_in_one_line() -> None:
    truth = np.repeat([0, 1, 2, 7], 50)  # There is no class 7 among the probabilities.
    wrong = np.repeat([True, False], [15, 185])
    predicted = np.where(wrong, (truth + 1) % 8, truth) % 3
    probabilities = np.eye(3)[predicted] * 0.85 + 0.05
    found = Classified("kind", probabilities, truth, np.arange(200))
    assert found.correct.sum() == 200 - 15 - 50 and found.chance == 0.25
    assert found.confidence == pytest.approx(0.9)
    assert sorted({*found.log_loss.round(3)}) == [0.105, 2.996, 27.631]
    assert str(found) == (
        "error 32.50 ± 3.31% on 200 images (always the most frequent class: 75.00%)"
    )


def test_calibrated_predictions_have_the_error_of_noise_alone() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.4, 1, 20_000)
    calibrated = random.random(20_000) < confidence
    # 15 bins of 1,300 or more images: noise of about 0.01; being wrong by 0.1 is seen.
    assert calibration_error(confidence, calibrated) < 0.02
    assert calibration_error(confidence, random.random(20_000) < confidence - 0.1) > 0.08
