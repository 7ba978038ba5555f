"""Where progress bars are shown."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from pyrovae.utils.progress import hides_bar


def test_a_notebook_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert hides_bar() is None and hides_bar(False) is True
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert hides_bar() is False and hides_bar(False) is True
