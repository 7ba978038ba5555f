"""Names of files that are not UTF-8, or in characters that the usual font lacks."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrovae.data import Split
from pyrovae.inspection.section import Drawing
from pyrovae.utils.text import legible, printable

NAMES = ["写真.png", "صورة.png", "ภาพ.png", "😀.png", "a$x\\foo$.png", "$100.png", "\t.png"]


def drawn(name: str) -> bytes:
    figure = Figure(figsize=(3, 1))
    axes = figure.subplots()
    axes.set_title(name)
    axes.set_yticks([0, 1], [name, "plain"])
    axes.set_xscale("log")
    return Drawing(figure, "any").png


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_drawn_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawn(name).startswith(b"\x89PNG")


@pytest.mark.slow
def test_numbers_on_a_logarithmic_axis_stay_formulas() -> None:
    figure = Figure()
    figure.subplots().set_xscale("log")
    pictures = []
    for _ in range(2):
        buffer = io.BytesIO()
        with legible(figure):
            figure.savefig(buffer, format="png", metadata={"Software": None})
        pictures.append(buffer.getvalue())
    plain = Figure()
    plain.subplots().set_xscale("log")
    buffer = io.BytesIO()
    plain.savefig(buffer, format="png", metadata={"Software": None})
    assert pictures == [buffer.getvalue()] * 2


def test_names_that_no_encoding_can_write_are_escaped_in_splits() -> None:
    names = ["写真.png", b"caf\xe9.png".decode("utf-8", "surrogateescape")]
    split = Split(np.zeros((2, 1, 2, 2), np.uint8), names, np.zeros((2, 0), np.float32))
    assert list(split.names) == ["写真.png", "caf\\udce9.png"]
    assert list(split.take([1]).table().index) == ["caf\\udce9.png"]
    split.table().to_csv().encode()
    assert printable("写真 é") == "写真 é"
