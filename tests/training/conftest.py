"""A CPU that takes steps as a GPU does."""

from __future__ import annotations

import importlib

import pytest
import torch

from pyrovae import Engine
from pyrovae.data.feed import DeviceFeed
from pyrovae.training import compiling, session
from pyrovae.training.pacing import Pace
from tests.support.recorders import TracingRecorder


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[TracingRecorder]:
    """Lets a CPU do as a GPU does; all recorders that a run asks for."""
    made: list[TracingRecorder] = []

    def make(device: torch.device) -> TracingRecorder:
        made.append(TracingRecorder())
        return made[-1]

    monkeypatch.setattr(session, "recorder_for", make)
    monkeypatch.setattr(session, "Pace", lambda group, waits: Pace(group, True))
    monkeypatch.setattr(Engine, "feed", lambda self, batches: DeviceFeed(batches, self.place))
    monkeypatch.setattr(Engine, "decides_by_time", property(lambda self: self.compile == "auto"))
    monkeypatch.setattr(compiling, "_compiled", lambda graph, values: graph)
    adam_module = importlib.import_module("torch.optim.adam")
    if hasattr(adam_module, "_get_capturable_supported_devices"):
        monkeypatch.setattr(
            adam_module, "_get_capturable_supported_devices", lambda **kwargs: ["cpu"]
        )
    return made
