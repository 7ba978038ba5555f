"""Recorders on a pretended stream, and what a recorded step gives."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ClassVar
from unittest.mock import MagicMock

import pytest
import torch

from pyrovae.training.recording import CudaRecorder, Replayed
from tests.support.recorders import TracingRecorder


class FakeStream:
    """A stream that notes what it waits for."""

    calls: ClassVar[list[str]] = []

    def __init__(self, device: Any = None) -> None:
        self.name = "usual" if device is None else "recording"

    def wait_stream(self, other: FakeStream) -> None:
        self.calls.append(f"{self.name} waits for {other.name}")


def test_a_gpu_records_on_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, generator, calls = MagicMock(), MagicMock(), FakeStream.calls
    calls.clear()
    graph.replay.side_effect = lambda: calls.append("replay")
    for name, fake in {
        "Stream": FakeStream,
        "current_stream": FakeStream,
        "device": lambda device: nullcontext(),
        "stream": lambda stream: nullcontext(calls.append(f"on {stream.name}")),
        "CUDAGraph": lambda: graph,
        "current_device": lambda: 0,
        "default_generators": [generator],
        "synchronize": lambda: calls.append("synchronize"),
        "graph": lambda made, stream, **kwargs: nullcontext(calls.append(f"on {stream.name}")),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    recorder = CudaRecorder(torch.device("cuda:1"))
    with recorder.warming():
        calls.append("work")
    around = ["recording waits for usual", "on recording", "work", "usual waits for recording"]
    assert calls == around
    calls.clear()
    _, replay = recorder.record(lambda: torch.zeros(len(calls)))
    replay()
    assert calls == ["synchronize", "on recording", "replay"]
    generator.graphsafe_set_state.assert_not_called()
    with pytest.raises(ZeroDivisionError), pytest.raises(RuntimeError):
        recorder.record(lambda: torch.zeros(1 // 0))
    with pytest.raises(RuntimeError):
        recorder.record(lambda: torch.zeros(1) @ torch.zeros(2))
    # Else every draw from here on would be refused, as if a recording went on.
    generator.graphsafe_set_state.assert_called_once_with(generator.clone_state())


def test_a_result_is_a_copy() -> None:
    count = torch.zeros(4)
    recorded = Replayed(lambda: count.add_(1).clone(), TracingRecorder())
    found = [recorded() for _ in range(6)]
    assert [row[0].item() for row in found] == [1, 2, 3, 4, 5, 6]
