"""The section on predicted classes: its numbers, sentences and figures, and where it applies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from pyrovae import Engine
from pyrovae.inspection.report import inspect
from pyrovae.inspection.section import Inapplicable
from pyrovae.inspection.sections import classes
from pyrovae.inspection.sections.classes import section
from pyrovae.inspection.subject import QUICK, Subject
from pyrovae.posterior.classification import Classified
from tests.support.programs import CLASSES
from tests.support.small import small_data, small_vae
from tests.support.tables import FALSE_ALARM

CPU = Engine("cpu", "fp32")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
#: One 0 and two 2s are taken for a 1; class 3 has no probability.
PREDICTED = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 2])


def subject(programs: Any, glasses: float | None = None) -> Subject:
    """A subject whose images have glasses if the skin is dark, or a given value."""
    split = small_data().split("test")
    worn = (split.attributes[:, :1] > 0) if glasses is None else np.full((len(split), 1), glasses)
    split = replace(
        split,
        attributes=worn.astype(np.float32),
        attribute_names=("glasses",),
        value_names={"smile": ("no", "yes", "wide")},
    )
    return Subject(programs, split, CPU, shown=split.take([0]), budget=QUICK)


def known(confidence: float) -> Classified:
    rest = (1 - confidence) / 2
    probabilities = np.eye(3)[PREDICTED] * (confidence - rest) + rest
    return Classified("smile", probabilities, TRUTH, np.arange(10) + 3)


@pytest.fixture
def certain(monkeypatch: pytest.MonkeyPatch) -> Classified:
    found = known(0.9)
    monkeypatch.setattr(classes, "classify", lambda *args, **options: found)
    return found


def test_confusions_and_scores_per_class_are_counted(certain: Classified) -> None:
    tables = section(subject(small_vae())).tables
    names = ["no", "yes", "wide", "3"]
    confusions = tables["confusions"].set_index("true")
    assert confusions.index.tolist() == confusions.columns.tolist() == names
    expected = [[3, 1, 0, 0], [0, 3, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]]
    assert confusions.to_numpy().tolist() == expected
    table = tables["by_class"].set_index("class")
    assert table["images"].tolist() == [4, 3, 2, 1]
    assert table["recall"].tolist() == [0.75, 1, 0, 0]
    assert table["precision"].tolist()[:3] == [1, 0.5, 0] and np.isnan(table["precision"].iloc[3])


def test_bins_of_confidence_have_their_accuracy(certain: Classified) -> None:
    bins = section(subject(small_vae())).tables["reliability"]
    assert len(bins) == 1 and bins["images"].tolist() == [10]
    assert bins["confidence"].tolist() == pytest.approx([0.9])
    assert bins["accuracy"].tolist() == [0.6]
    interval = scipy.stats.binomtest(6, 10).proportion_ci(0.95, "wilson")
    assert bins[["low", "high"]].to_numpy()[0] == pytest.approx(interval, rel=1e-4)


@pytest.mark.parametrize(
    ("confidence", "verdict"),
    [(0.95, "Predictions are overconfident"), (0.6, "No miscalibration was found")],
)
def test_sentences_name_error_calibration_and_the_most_frequent_mistake(
    confidence: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = known(confidence)
    monkeypatch.setattr(classes, "classify", lambda *args, **options: found)
    error, calibration, never, mistake = section(subject(small_vae())).says
    assert error.startswith(f"smile: {found}; log loss {found.log_loss.mean():.3f} nats")
    assert calibration.startswith(f"{verdict}: mean confidence {100 * confidence:.1f}%")
    assert never == "No image is predicted as 3."
    assert mistake == (
        "Most frequent mistake: wide predicted as yes, 2 of 2 images of class wide."
    )


def test_predictions_with_little_confidence_are_underconfident() -> None:
    truth = np.arange(200) % 2
    found = Classified("smile", np.eye(2)[truth] * 0.2 + 0.4, truth, np.arange(200))
    names = ["no", "yes"]
    said = classes._says(found, classes._confusions(found, names), 0)
    assert said[1].startswith("Predictions are underconfident") and len(said) == 2


def test_errors_in_both_directions_are_noticed_and_chance_is_named() -> None:
    truth = np.arange(400) % 2
    first = np.repeat([0.6, 0.9], 200)  # The former are always right, the latter at chance.
    right = np.where(np.arange(400) < 200, True, np.arange(400) // 2 % 2 == 0)
    predicted = np.where(right, truth, 1 - truth)
    own = np.eye(2)[predicted] * (2 * first - 1)[:, None] + (1 - first)[:, None]
    found = Classified("smile", own, truth, np.arange(400))
    said = classes._says(found, classes._confusions(found, ["no", "yes"]), 0)
    assert said[1].startswith("Confidences are wrong in both directions: mean confidence 75.0%")
    same = Classified("smile", np.eye(2)[np.ones(9, int)], np.arange(9) % 2, np.arange(9))
    said = classes._says(same, classes._confusions(same, ["no", "yes"]), 0)
    assert said[0].endswith("Always predicting the most frequent class is as good or better.")
    assert said[2] == "No image is predicted as no."


@pytest.mark.slow
@pytest.mark.parametrize("each", [0, 5])
def test_calibrated_predictions_are_noticed_as_often_as_the_quantile_says(each: int) -> None:
    random = np.random.default_rng(0)
    groups = np.arange(300).repeat(each) if each else None
    places = np.arange(300) if groups is None else groups
    noticed = 0
    for _ in range(200):
        p = random.uniform(0.5, 1.0, 300)
        truth = (random.random(300) > p).astype(int)[places]
        both = np.stack([p, 1 - p], 1)[places]
        found = Classified("smile", both, truth, np.arange(len(truth)), groups)
        noticed += not classes._calibration_said(found, 0).startswith("No miscalibration")
    assert scipy.stats.binomtest(noticed, 200, 1 - classes.NOTICED).pvalue > FALSE_ALARM


def test_images_of_a_group_are_not_independent_evidence_of_calibration() -> None:
    groups = np.arange(30).repeat(10)
    p, truth = np.full(300, 0.8), (groups < 6).astype(int)
    found = Classified("smile", np.stack([p, 1 - p], 1), truth, np.arange(300), groups)
    said = classes._calibration_said(found, 0)
    assert said.endswith("(30 images, one per group).")
    assert classes._reliability(found.independent())["images"].sum() == 30
    assert len(found.independent().rows) == 30 and found.independent().correct.mean() == 0.8


def test_the_mistakes_of_the_highest_confidence_are_drawn(
    certain: Classified, monkeypatch: pytest.MonkeyPatch
) -> None:
    certain.probabilities[7] = [0, 1, 0]
    seen: dict[str, Any] = {}
    drawn = classes.image_rows

    def spy(rows: Any, notes: Any) -> Any:
        seen.update(rows=rows, notes=notes)
        return drawn(rows, notes)

    monkeypatch.setattr(classes, "image_rows", spy)
    own = subject(small_vae())
    drawing = section(own).figures["mistakes"]
    (notes,) = seen["notes"].values()
    assert notes == [
        "wide\nas yes\n1.00",
        "no\nas yes\n0.90",
        "wide\nas yes\n0.90",
        "3\nas wide\n0.90",
    ]
    (images,) = seen["rows"].values()
    assert torch.equal(images[0], torch.tensor(own.split.images[10]) / 255)
    assert drawing.caption.startswith("The 4 wrong predictions with the highest confidence")


@pytest.mark.slow
@pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES.keys())
def test_programs_that_classify_have_the_section(make: Any, tmp_path: Path) -> None:
    report = inspect(subject(make()), tmp_path, ["classes"])
    assert not report.failed and list(report.sections) == ["classes"]
    assert {"confusions", "reliability"} <= set(report.sections["classes"].figures)
    assert report.sections["classes"].tables["by_class"]["images"].sum() == len(
        small_data().split("test")
    )


def test_other_programs_lack_it_and_the_page_says_so(tmp_path: Path) -> None:
    programs, lines = small_vae(), []
    with pytest.raises(Inapplicable, match="predict no class, or it is known for none"):
        section(subject(programs))
    report = inspect(subject(programs), tmp_path, ["classes"], log=lines.append)
    assert list(report.inapplicable) == ["classes"] and not report.sections | report.failed
    assert lines == ["classes: does not apply: " + report.inapplicable["classes"]]
    assert lines[0] in report.html.read_text(encoding="utf-8")


def test_images_without_a_known_class_lack_it() -> None:
    (make, *_) = CLASSES.values()
    with pytest.raises(Inapplicable):
        section(subject(make(), glasses=np.nan))
