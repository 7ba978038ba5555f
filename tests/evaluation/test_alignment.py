"""Scores of other draws, features or training images in a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from pyrovae.evaluation.alignment import aligned, trained_apart
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.run_scores import OF_DRAWS, RunScores
from pyrovae.runs import RunDirectory, save_checkpoint

USUAL = {"num_samples": 200, "evidence_images": 0, "features": "Pixels"}
ELBO = {"elbo": Estimate(-9.0, 0.1)}
DRAWN = {"log_evidence": Estimate(-8.0, 0.1), "ess": Estimate(3.0)}
SAMPLES = {"frechet": Estimate(7.0)}


def report(scores: dict[str, Estimate], each: float = 1.0, **settings: Any) -> RunScores:
    columns = {"rate": [2.0], "distortion": [7.0]}
    if "log_evidence" in scores:
        columns |= {"log_evidence": [each], OF_DRAWS: [each - 1], "ess": [3.0]}
    return RunScores(Path(), USUAL | settings, {"vae": scores}, pd.DataFrame(columns), 1, 4, 256)


def test_equal_settings_change_nothing() -> None:
    kept = {"a": report(ELBO | DRAWN), "b": report(ELBO | SAMPLES), "c": report(ELBO | DRAWN)}
    # Settings of scores that a run does not have say nothing.
    kept["b"].settings["num_samples"] = kept["a"].settings["num_samples"] + 1
    assert aligned(kept, kept) == (kept, [])


@pytest.mark.parametrize(
    ("scores", "other", "said"),
    [
        (DRAWN, {"num_samples": 1000}, "log p(x) has 1,000 draws in a and 200 draws in b, c"),
        (
            DRAWN,
            {"evidence_images": 50},
            "log p(x) has 200 draws for 50 images in a and 200 draws in b, c",
        ),
        (
            SAMPLES,
            {"features": "Inception"},
            "sample scores use the features Inception in a and the features Pixels in b, c",
        ),
    ],
)
def test_other_settings_are_left_out_or_computed_anew(
    scores: dict[str, Estimate], other: dict[str, Any], said: str
) -> None:
    usual = {name: report(ELBO | scores) for name in ("b", "c")}
    kept = {"a": report(ELBO | scores, 5.0, **other), **usual}
    found, lines = aligned(kept, {name: report(ELBO) for name in kept})
    assert lines == [f"not compared: {said}"]
    assert all(own.scores["vae"] == ELBO for own in found.values())
    assert all(list(own.each_image) == ["rate", "distortion"] for own in found.values())
    found, lines = aligned(kept, asked := {name: report(scores) for name in kept})
    assert all(own.scores["vae"] == ELBO | scores for own in found.values())
    assert all(own.settings == asked[name].settings for name, own in found.items())
    assert all(own.each_image.equals(asked[name].each_image) for name, own in found.items())
    assert lines[0].split(" here; the files of the runs keep ")[1] in said


def test_a_run_without_the_new_scores_has_none() -> None:
    kept = {"a": report(ELBO | DRAWN, num_samples=9), "b": report(ELBO | DRAWN)}
    found, _ = aligned(kept, {"a": report({}), "b": report(DRAWN)})
    assert found["a"].scores["vae"] == ELBO and found["b"].scores["vae"] == ELBO | DRAWN


def test_other_training_images_are_told_of(tmp_path: Path) -> None:
    images = {
        "a": (500, "x"),
        "b": (3000, "y"),
        "c": (500, "x"),
        "d": (3000, "z"),
        "e": None,
        "f": (3000, "y"),
    }
    paths = {}
    for name, own in images.items():
        state = {} if own is None else dict(zip(("num_images", "images"), own, strict=True))
        run = RunDirectory(tmp_path / name)
        save_checkpoint(run.last, {"weights.w": torch.zeros(1)}, state)
        paths[name] = run.root
    assert [*trained_apart(paths)] == [
        "b, f: trained on 3,000 images, others than the first run's",
        "d: trained on 3,000 images, others than the first run's",
    ]
    assert not [*trained_apart({name: paths[name] for name in "ec"})]
