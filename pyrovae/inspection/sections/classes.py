"""Are the predicted classes right?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.inspection.plotting import heat_map, image_rows, shorten
from pyrovae.inspection.section import Drawing, Inapplicable, Section
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.classification import Classified, bins_of, classify
from pyrovae.utils.lazy import pandas
from pyrovae.utils.palette import GUIDE, INK, PAPER, SHARES, SOFT
from pyrovae.utils.plotting import LABEL, SMALL, name_axes, panel
from pyrovae.utils.text import listed

__all__ = ["section"]

PLACE = 95

#: Mistakes that are drawn, per row and in all; classes whose counts are written into the map.
COLUMNS, MISTAKES, WRITTEN = 6, 12, 20
#: Calibration errors are noticed above this quantile of those that noise alone gives.
NOTICED = 0.95
CAPTIONS = {
    "by_class": "Images, recall and precision per class; empty where there are no such images",
    "confusions": "Images per true class (rows) and predicted class (columns)",
    "reliability": "Mean confidence, accuracy and its 95% interval per bin of the confidence",
}


def section(subject: Subject) -> Section:
    """Accuracy, confusions and calibration of programs that classify, and their mistakes."""
    found = classify(subject.programs, subject.split, subject.engine, seed=subject.seed)
    if found is None:
        raise Inapplicable("the programs predict no class, or it is known for none of the images")
    names = _names(subject, found)
    confusions, bins = _confusions(found, names), _reliability(found.independent())
    tables = {"by_class": _by_class(confusions), "confusions": confusions}
    figures = {
        "confusions": _confusions_drawing(subject, confusions, found.label),
        "reliability": _reliability_drawing(subject, bins, found),
    }
    if not found.correct.all():
        figures["mistakes"] = _mistakes(subject, found, names)
    return Section(
        "Are the predicted classes right?",
        _says(found, confusions, subject.seed),
        tables={name: own.reset_index() for name, own in tables.items()} | {"reliability": bins},
        figures=figures,
        captions=CAPTIONS,
    )


def _names(subject: Subject, found: Classified) -> list[str]:
    """The names of the classes, also of known ones that are never predicted."""
    count = max(found.probabilities.shape[1], int(found.truth.max()) + 1)
    named = list(subject.split.value_names.get(found.label, ()))
    if count == 2 and not named:
        named = [f"not {found.label}", found.label]
    return [named[i] if i < len(named) else str(i) for i in range(count)]


def _confusions(found: Classified, names: list[str]) -> pandas.DataFrame:
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (found.truth, found.predicted), 1)
    return pandas.DataFrame(counts, index=pandas.Index(names, name="true"), columns=names)


def _by_class(confusions: pandas.DataFrame) -> pandas.DataFrame:
    """Per class: images, recall (of the true ones) and precision (of the predicted ones)."""
    counts = confusions.to_numpy()
    right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    with np.errstate(invalid="ignore"):  # NaN where there is no such image.
        columns = {"images": true, "recall": right / true, "precision": right / predicted}
    return pandas.DataFrame(columns, index=pandas.Index(confusions.index, name="class"))


def _reliability(found: Classified) -> pandas.DataFrame:
    """One row per bin of the confidence that has images; 95% intervals by Wilson's method."""
    bins = bins_of(found.confidence)
    table = pandas.DataFrame(
        {"bin": bins, "confidence": found.confidence, "accuracy": found.correct.astype(float)}
    )
    means, images = table.groupby("bin").mean(), table.groupby("bin").size()
    p, z = means["accuracy"], 1.96
    middle = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(p * (1 - p) / images + (z / (2 * images)) ** 2)
    ends = {"low": np.minimum(middle - half, p), "high": np.maximum(middle + half, p)}
    return means.assign(**ends, images=images).reset_index(drop=True)


def _says(found: Classified, confusions: pandas.DataFrame, seed: int) -> list[str]:
    counts, names = confusions.to_numpy(), list(confusions.index)
    said = [f"{found.label}: {found}; log loss {found.log_loss.mean():.3f} nats per image."]
    if found.correct.mean() <= found.chance:
        said[0] += " Always predicting the most frequent class is as good or better."
    said.append(_calibration_said(found, seed))
    if never := [names[i] for i in np.flatnonzero(counts.sum(1) * (counts.sum(0) == 0))]:
        said.append(f"No image is predicted as {listed(never)}.")
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    if wrong.any():
        true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        said.append(
            f"Most frequent mistake: {names[true]} predicted as {names[predicted]}, "
            f"{wrong.max()} of {counts[true].sum()} images of class {names[true]}."
        )
    return said


def _calibration_said(found: Classified, seed: int) -> str:
    tested = found.independent()
    error, noise = tested.numbers()["calibration_error"], tested.noise(seed)
    confidence, accuracy = tested.confidence.mean(), tested.correct.mean()
    spread = np.sqrt(accuracy * (1 - accuracy) / len(tested.truth))
    apart = "" if found.groups is None else f" ({len(tested.truth):,} images, one per group)"
    verdict = "No miscalibration was found"
    if error > np.quantile(noise, NOTICED):
        verdict = "Confidences are wrong in both directions"
        if abs(confidence - accuracy) > 2 * spread:
            side = "over" if confidence > accuracy else "under"
            verdict = f"Predictions are {side}confident"
    return (
        f"{verdict}: mean confidence {100 * confidence:.1f}%, accuracy {100 * accuracy:.1f} ± "
        f"{100 * spread:.1f}%; calibration error {error:.3f}, by noise alone {noise.mean():.3f}"
        f"{apart}."
    )


def _mistakes(subject: Subject, found: Classified, names: list[str]) -> Drawing:
    """The wrong predictions with the highest confidence."""
    wrong = np.flatnonzero(~found.correct)
    worst = wrong[np.argsort(-found.confidence[wrong], kind="stable")][:MISTAKES]
    images = torch.from_numpy(np.array(subject.split.images[found.rows[worst]])) / 255
    short = [shorten(name) for name in names]
    words = [  # In three lines: names of classes may be long.
        f"{short[found.truth[i]]}\nas {short[found.predicted[i]]}\n{found.confidence[i]:.2f}"
        for i in worst
    ]
    rows, notes = {}, {}
    for start in range(0, len(worst), COLUMNS):
        title = f"mistakes {start + 1} to {min(start + COLUMNS, len(worst))}"
        rows[title], notes[title] = images[start : start + COLUMNS], words[start : start + COLUMNS]
    return Drawing(
        image_rows(rows, notes),
        f"The {len(worst)} wrong predictions with the highest confidence: true class, predicted "
        f"class, confidence. {subject.where(len(found.truth))}.",
    )


def _confusions_drawing(subject: Subject, confusions: pandas.DataFrame, label: str) -> Drawing:
    counts = confusions.to_numpy()
    shares = confusions / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = panel(2.0 + 0.22 * min(len(confusions), 20))
    name_axes(axes, f"predicted {label}", f"true {label}")
    ends = {"cmap": SHARES, "vmin": 0, "vmax": 1, "aspect": "auto"}
    heat_map(axes, shares, "share of the true class", **ends)
    if len(confusions) <= WRITTEN:
        for (row, column), count in np.ndenumerate(counts):
            dark = shares.to_numpy()[row, column] > 0.5
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL}
            axes.text(column, row, str(count or ""), color=PAPER if dark else INK, **style)
    return Drawing(
        figure,
        "Confusions: numbers count images, colours give the share of the true class. "
        f"{subject.where(counts.sum())} whose class is known.",
    )


def _reliability_drawing(subject: Subject, bins: pandas.DataFrame, found: Classified) -> Drawing:
    figure, axes = panel(3.0)
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":", label="accuracy is confidence")
    ends = np.stack([bins["accuracy"] - bins["low"], bins["high"] - bins["accuracy"]])
    points: dict[str, Any] = {"fmt": "o", "ms": 4, "color": GUIDE, "label": "predictions"}
    axes.errorbar(bins["confidence"], bins["accuracy"], ends, **points)
    beside: dict[str, Any] = {"fontsize": SMALL, "color": SOFT, "textcoords": "offset points"}
    for confidence, accuracy, images in bins[["confidence", "accuracy", "images"]].to_numpy():
        axes.annotate(f"{images:,.0f}", (confidence, accuracy), xytext=(4, 2), **beside)
    axes.set(xlim=(0, 1.05), ylim=(-0.03, 1.05))
    axes.legend(fontsize=LABEL, frameon=False)
    name_axes(axes, "confidence", "accuracy")
    apart = "" if found.groups is None else ", one per group"
    return Drawing(
        figure,
        "Reliability: the share of right predictions per bin of their confidence, with 95% "
        "intervals and the number of images. On the diagonal accuracy is confidence; below it "
        "predictions are overconfident, above it underconfident. "
        f"{subject.where(int(bins['images'].sum()))}{apart}.",
    )
