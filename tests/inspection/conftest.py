"""Fits that are short, for tests that do not look at how good they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.subjects import shortened


@pytest.fixture
def short_fits() -> Iterator[None]:
    """Refinements take a few steps."""
    with shortened():
        yield
