"""Fits that are short, for tests that do not look at how good they are."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from pyrovae.inspection.section import Drawing
from tests.support.subjects import shortened


@pytest.fixture
def short_fits() -> Iterator[None]:
    """Refinements take a few steps."""
    with shortened():
        yield


@pytest.fixture
def unpainted() -> Iterator[pytest.MonkeyPatch]:
    """Figures are made, and written as blank pictures until the patch is undone."""
    blank = io.BytesIO()
    Image.new("RGB", (600, 20)).save(blank, format="png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drawing, "png", blank.getvalue())
        yield patch
