"""Explorers of small programs, and images as files in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from pyrovae import Engine, ModelGuidePair
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.data import ImageData
from pyrovae.inspection.subject import Budget, Subject
from tests.support.small import small_data


def explorer(
    programs: ModelGuidePair, count: int = 120, data: ImageData | None = None
) -> Explorer:
    """An explorer of drawn faces of 16x16 pixels, or of other data."""
    data = data or small_data(num_test=count)
    split = data.split("test")
    some: dict[str, Any] = {"shown": split.take([0, 1]), "train": data.split("train")}
    budget = Budget(count, 2, 100, 2, 20, 1, importance_draws=250)
    engine = Engine("cpu", "fp32")
    return Explorer(Subject(programs, split, engine, budget=budget, **some), data)


def file_of(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """An image `(H, W)` or `(H, W, C)` as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
