"""Predictions of classes: their error and their calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrovae import ArrayData, Bernoulli, DiscretizedLogistic, DynamicBinarization
from pyrovae.posterior.classification import Classified, calibration_error, classify
from tests.support.classes import CPU, mixture, squares


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
        "error 32.50 ± 3.32% on 200 images (always the most frequent class: 75.00%)"
    )


def test_the_error_of_one_image_has_no_standard_error() -> None:
    found = Classified("kind", np.eye(2)[[0]], np.array([1]), np.arange(1))
    assert str(found).startswith("error 100.00% on 1 images")


@pytest.mark.parametrize(("groups", "most"), [(None, "5.8"), (np.arange(50) // 5, "26")])
def test_no_mistake_has_a_bound(groups: np.ndarray | None, most: str) -> None:
    """(1 - p)^n is 5%: of 50 images p is 5.8%, and of 10 groups 26%."""
    truth = np.arange(50) % 2
    found = Classified("kind", np.eye(2)[truth], truth, np.arange(50), groups)
    assert str(found).startswith(f"error 0.00% on 50 images (at most {most}% with 95% confidence;")


def test_calibrated_predictions_have_the_error_of_noise_alone() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.4, 1, 20_000)
    calibrated = random.random(20_000) < confidence
    # 15 bins of 1,300 or more images: noise of about 0.01; being wrong by 0.1 is seen.
    assert calibration_error(confidence, calibrated) < 0.02
    assert calibration_error(confidence, random.random(20_000) < confidence - 0.1) > 0.08


def test_predictions_are_averaged_over_the_noise_of_observations() -> None:
    """q(class 1) is the share of white pixels: its mean is the mean grey value, 60 / 255.

    200 images, 10 draws of 16 pixels: the standard error is 0.0024; 6 of them have chance 2e-9.
    """
    vae = mixture(likelihood=Bernoulli(binarization=DynamicBinarization()))
    data = ArrayData({"train": np.full((200, 1, 4, 4), 60, np.uint8)}, np.arange(200) % 3)
    vae.class_probabilities = white  # type: ignore[method-assign]
    found = [classify(vae, data.split("train"), CPU, draws=draws) for draws in (1, 10)]
    one, ten = (own.probabilities[:, 1] for own in found if own)
    assert abs(ten.mean() - 60 / 255) < 6 * 0.0024
    # The standard deviation is smaller by the square root of 10: 3.16.
    assert 2.5 < one.std() / ten.std() < 4


def white(x: Tensor) -> dict[str, Tensor]:
    """The share of white pixels as the probability of class 1."""
    share = x.mean((1, 2, 3))
    return {"label": torch.stack([1 - share, share, 0 * share], 1)}


def test_observations_without_noise_are_encoded_twice_only() -> None:
    vae, seen = mixture(likelihood=DiscretizedLogistic()), []
    vae.guide.encoder.register_forward_hook(lambda *_: seen.append(1))
    found = [classify(vae, squares().split("val"), CPU, draws=draws) for draws in (1, 10)]
    assert len(seen) == 3
    assert found[0] and found[1] and (found[0].probabilities == found[1].probabilities).all()
