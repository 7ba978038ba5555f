"""Explorers of small programs, and images as files in memory."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pyrovae import Engine, ModelGuidePair
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.data import ImageData
from pyrovae.inspection.subject import Budget, Subject
from tests.support.small import small_data


def explorer(
    programs: ModelGuidePair,
    count: int = 120,
    data: ImageData | None = None,
    device: str = "cpu",
) -> Explorer:
    """An explorer of drawn faces of 16x16 pixels, or of other data."""
    data = data or small_data(num_test=count)
    split = data.split("test")
    some: dict[str, Any] = {"shown": split.take([0, 1]), "train": data.split("train")}
    some["held_out"] = data.split("val")
    budget = Budget(count, 2, 100, 2, 20, 1, importance_draws=250)
    engine = Engine(device, "fp32")
    return Explorer(Subject(programs, split, engine, budget=budget, **some), data)


def file_of(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """An image `(H, W)` or `(H, W, C)` as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(url: str) -> np.ndarray:
    """The pixels of a PNG data URL."""
    assert url.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def ask(own: Explorer, question: str, **given: Any) -> dict[str, Any]:
    """The answer as a page gets it."""
    found = json.loads(json.dumps(ANSWERS[question](own, given), allow_nan=False))
    assert isinstance(found, dict)
    return found


def up_to_rounding(value: Any, rel: float = 1e-5) -> Any:
    """A nested answer whose numbers compare up to rounding, which depends on memory layouts."""
    if isinstance(value, dict):
        return {name: up_to_rounding(inner, rel) for name, inner in value.items()}
    if isinstance(value, list):
        return [up_to_rounding(inner, rel) for inner in value]
    return pytest.approx(value, rel=rel, abs=rel / 10) if isinstance(value, float) else value


def all_answers(own: Explorer) -> dict[str, dict[str, Any]]:
    """An answer to every question, without a map of neighbours."""
    name = own.names[3]
    z = ask(own, "image", name=name)["loc"]
    other = ask(own, "image", name=own.names[4])["loc"]
    side = own.data.image_shape[1]
    upload = ANSWERS["upload"](own, {"bytes": file_of(np.zeros((side, side), np.uint8))})
    return {
        "run": ask(own, "run"),
        "map": ask(own, "map", method="PCA"),
        "colour": ask(own, "colour", name="rate"),
        "thumbs": ask(own, "thumbs", rows=[0, 2], size=20),
        "ground": ask(own, "ground", method="PCA", places=[[0, 0], [1, -1]]),
        "decode": ask(own, "decode", z=[z, other]),
        "image": ask(own, "image", name=name),
        "upload": json.loads(json.dumps(upload, allow_nan=False)),
        "draws": ask(own, "draws", name=name, count=3, seed=1),
        "scores": ask(own, "scores", name=name),
        "sliders": ask(own, "sliders", name=name),
        "directions": ask(own, "directions", name=name),
        "attributes": ask(own, "attributes"),
        "path": ask(own, "path", first=z, second=other, kind="sphere", steps=4),
        "nearest": ask(own, "nearest", z=z, count=5),
    }
