"""What is done in the middle of a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from pyrovae.data import Batches


def at_step(number: int, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Does something in the middle of the run's step of that number, counted from 1."""
    original, seen = Batches._flipped, []

    def batch(self: Batches, *args: Any) -> Tensor:
        if self.shuffle:
            seen.append(1)
            if len(seen) == number:
                action()
        return original(self, *args)

    monkeypatch.setattr(Batches, "_flipped", batch)
