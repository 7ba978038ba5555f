"""The history of training, from `metrics.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import pandas

__all__ = ["from_cells", "from_rows", "measure"]


def measure(subject: Subject) -> dict[str, Any]:
    """The length of training, and how the ELBO changed."""
    found: dict[str, Any] = {}
    if subject.train is not None:
        found["train_images"] = len(subject.train)
    if subject.history is None:
        return found
    found |= from_rows(subject.history)
    options = subject.options
    changed = options.get("likelihood.drop", 0) or options.part("objective") == "Denoising"
    if changed and len(subject.history) == 1:
        found["rise"] = math.nan  # Its training ELBO is that of other images: those with less.
    return found


def from_cells(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Fields of `Evidence` from the rows of `metrics.csv` as text, while a run trains.

    Args:
        rows: the cells of each epoch, by column; at least one row.
    """
    # "coerce" reads the text "nan", which a measurement of a callback may be.
    return from_rows(pandas.DataFrame([*rows]).apply(pandas.to_numeric, errors="coerce"))


def from_rows(rows: pandas.DataFrame) -> dict[str, Any]:
    """Fields of `Evidence` from the rows of `metrics.csv`.

    The expected gain of training twice as long is half of the gain since the middle of the run:
    curves of the ELBO flatten faster than a logarithm.

    Args:
        rows: one per epoch, at least one.
    """
    val, train = rows["val_elbo"], rows["train_elbo"]
    steps = float(rows["step"].iloc[-1])
    # The training ELBO of a single epoch is that of its middle, on average.
    middle = val.iloc[(len(rows) - 1) // 2] if len(rows) > 1 else train.iloc[0]
    rise = (val.max() - middle) / 2
    return {
        "epochs": float(len(rows)),
        "steps": steps,
        "val_fall": float(val.max() - val.iloc[-1]),
        "train_fall": float(train.max() - train.iloc[-1]),
        "rise": float(rise),
        "skipped": float(rows["skipped_steps"].sum() / max(steps, 1)),
    }
