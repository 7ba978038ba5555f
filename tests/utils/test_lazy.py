"""Names of slow modules stand for them, and import them only when they are used."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pyrovae.utils.lazy import _Lazy, pandas


def test_a_module_is_imported_when_it_is_first_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    lazy = _Lazy("colorsys")
    assert "colorsys" not in sys.modules
    assert lazy.rgb_to_hsv(0, 0, 1)[2] == 1
    assert "colorsys" in sys.modules


def test_a_lazy_class_makes_objects_of_the_class() -> None:
    from fractions import Fraction

    assert _Lazy("fractions", "Fraction")(1, 2) == Fraction(1, 2)


def test_the_lazy_module_is_the_module() -> None:
    import pandas as real

    assert pandas.DataFrame is real.DataFrame
    assert isinstance(pandas.Series(np.zeros(2)), real.Series)
