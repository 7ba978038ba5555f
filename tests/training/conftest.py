from __future__ import annotations

import pytest

from pyrovae.training.callbacks import RunPage


@pytest.fixture
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curves, which follow from their rows alone and take longer than the steps."""
    monkeypatch.setattr(RunPage, "end_epoch", lambda self, epoch: None)
