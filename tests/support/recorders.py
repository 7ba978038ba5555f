"""Stands in for a GPU's recorder: what it repeats is operations on addresses, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.training.recording import Recorder


class TracingRecorder(Recorder):
    """Records the operations of work on the CPU.

    As with a CUDA graph, numbers of Python are those of the recording, and only what lies in
    tensors stays live. Tracing does the work once, which counts as the first replay.
    """

    def __init__(self) -> None:
        self.replays = 0

    def warming(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        done: list[Tensor] = []

        def traced() -> Tensor:
            done.append(work())
            return done[-1]

        # The shapes of all operations are told to one mode; otherwise each gets a new one, slowly.
        with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):
            graph = make_fx(traced)()
        result = done[0].detach().clone()

        def replay() -> None:
            if done:
                done.clear()
            else:
                with torch.no_grad():
                    result.copy_(graph())
            self.replays += 1

        return result, replay


class RefusingRecorder(Recorder):
    """Refuses to record anything."""

    def warming(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")
