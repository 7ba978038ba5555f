"""The section on predicted classes: its numbers, sentences and figures, and where it applies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
    table = tables["classes"].set_index("class")
    assert table["images"].tolist() == [4, 3, 2, 1]
    assert table["recall"].tolist() == [0.75, 1, 0, 0]
    assert table["precision"].tolist()[:3] == [1, 0.5, 0] and np.isnan(table["precision"].iloc[3])


def test_bins_of_confidence_have_their_accuracy(certain: Classified) -> None:
    bins = section(subject(small_vae())).tables["reliability"]
    assert len(bins) == 1 and bins["images"].tolist() == [10]
    assert bins["confidence"].tolist() == pytest.approx([0.9])
    assert bins["accuracy"].tolist() == [0.6]
    assert bins["error"].tolist() == pytest.approx([np.sqrt(0.6 * 0.4 / 10)])


@pytest.mark.parametrize(
    ("confidence", "verdict"),
    [(0.95, "Predictions are overconfident"), (0.6, "Confidences are calibrated")],
)
def test_sentences_name_error_calibration_and_the_most_frequent_mistake(
    confidence: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = known(confidence)
    monkeypatch.setattr(classes, "classify", lambda *args, **options: found)
    error, calibration, mistake = section(subject(small_vae())).says
    assert error.startswith(f"smile: {found}; log loss {found.log_loss.mean():.3f} nats")
    assert calibration.startswith(f"{verdict}: mean confidence {100 * confidence:.1f} %")
    assert mistake == (
        "Most frequent mistake: wide predicted as yes, 2 of 2 images of class wide."
    )


def test_predictions_with_little_confidence_are_underconfident() -> None:
    truth = np.arange(200) % 2
    found = Classified("smile", np.eye(2)[truth] * 0.2 + 0.4, truth, np.arange(200))
    names = ["no", "yes"]
    said = classes._says(found, classes._confusions(found, names), 0)
    assert said[1].startswith("Predictions are underconfident") and len(said) == 2


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
        "wide as yes, 1.00",
        "no as yes, 0.90",
        "wide as yes, 0.90",
        "3 as wide, 0.90",
    ]
    (images,) = seen["rows"].values()
    assert torch.equal(images[0], torch.tensor(own.split.images[10]) / 255)
    assert drawing.caption.startswith("The 4 wrong predictions of the highest confidence")


@pytest.mark.slow
@pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES.keys())
def test_programs_that_classify_have_the_section(make: Any, tmp_path: Path) -> None:
    report = inspect(subject(make()), tmp_path, ["classes"])
    assert not report.failed and list(report.sections) == ["classes"]
    assert {"confusions", "reliability"} <= set(report.sections["classes"].figures)
    assert report.sections["classes"].tables["classes"]["images"].sum() == len(
        small_data().split("test")
    )


def test_other_programs_lack_it_and_only_a_request_makes_this_a_failure(tmp_path: Path) -> None:
    programs, lines = small_vae(), []
    with pytest.raises(Inapplicable, match="predict no attribute that is known"):
        section(subject(programs))
    report = inspect(subject(programs), tmp_path, ["classes"], said=lines.append)
    assert list(report.failed) == ["classes"] and not report.sections
    assert lines == ["classes: does not apply: " + report.failed["classes"]]


def test_images_without_a_known_class_lack_it() -> None:
    (make, *_) = CLASSES.values()
    with pytest.raises(Inapplicable):
        section(subject(make(), glasses=np.nan))
