"""Recording of GPU work as a CUDA graph, and its replay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyrovae.training.python_state import PythonState, watched_hooks

__all__ = ["CudaRecorder", "NotRecordable", "Replayed", "Recorder", "Work", "recorder_for"]

Work = Callable[[], Tensor]

#: Operations with a device sync: the host reads a number, or the size of a result.
WAITING = {
    "aten._linalg_check_errors.default",
    "aten._local_scalar_dense.default",
    "aten._unique2.default",
    "aten.bincount.default",
    "aten.equal.default",
    "aten.masked_select.default",
    "aten.nonzero.default",
    "aten.repeat_interleave.Tensor",
}
INDEXING = {"aten.index.Tensor", "aten.index_put_.default"}


class NotRecordable(RuntimeError):
    """Raised if work cannot be recorded; the message is the reason."""


class Recorder(ABC):
    """Base of recorders of device work."""

    @abstractmethod
    def warming(self) -> Any:
        """Returns a context for warm-up runs, which execute the work without recording it."""

    @abstractmethod
    def record(self, work: Work) -> tuple[Tensor, Callable[[], None]]:
        """Records work without executing it.

        Returns:
            The result tensor, and a function that executes the work and fills that tensor.

        Raises:
            RuntimeError: if the work cannot be recorded.
        """


class CudaRecorder(Recorder):
    """Records CUDA graphs.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: Any = torch.cuda.Stream(device)

    @contextmanager
    def warming(self) -> Iterator[None]:
        """Context on the recording stream, so that autograd does not refer to another stream."""
        with torch.cuda.device(self.device):
            usual = torch.cuda.current_stream()
            self.stream.wait_stream(usual)
            with torch.cuda.stream(self.stream):
                yield
            usual.wait_stream(self.stream)

    def record(self, work: Work) -> tuple[Tensor, Callable[[], None]]:
        """Records work as a CUDA graph."""
        with torch.cuda.device(self.device):
            graph = torch.cuda.CUDAGraph()
            torch.cuda.synchronize()
            try:
                # Threads that prefetch images may use the device during the recording.
                mode = "thread_local"
                with torch.cuda.graph(graph, stream=self.stream, capture_error_mode=mode):
                    result = work()
            except RuntimeError:
                # A failed recording leaves the generator in its recording state.
                generator = torch.cuda.default_generators[torch.cuda.current_device()]
                generator.graphsafe_set_state(generator.clone_state())
                raise
        return result, partial(self._replay, graph)

    def _replay(self, graph: Any) -> None:
        with torch.cuda.device(self.device):
            graph.replay()


def recorder_for(device: torch.device) -> Recorder | None:
    """The recorder of a device; None for devices other than CUDA GPUs."""
    return CudaRecorder(device) if device.type == "cuda" else None


class Replayed:
    """Replays work of a device: one launch instead of hundreds.

    The first `WARM_UP` calls run eagerly, since lazy initialisation cannot be recorded. The last
    of them checks the operations: work with a device sync, or with tensors on two devices, is not
    recorded. Random numbers differ between replays, since a replay uses the generator's state.

    Args:
        work: returns a tensor; values that it reads from the host are fixed by the recording.
        recorder: records the work.
        parts: the objects that the work uses, by name; it is not recorded if it changes their
            Python state.

    Raises:
        NotRecordable: by the call that would record, if the work cannot be recorded.
    """

    WARM_UP = 3

    def __init__(
        self, work: Work, recorder: Recorder, parts: Mapping[str, object] | None = None
    ) -> None:
        self.work, self.recorder, self.parts = work, recorder, parts or {}
        self.left = self.WARM_UP
        self.refused: list[str] = []
        self.replay: Callable[[], None] | None = None

    def __call__(self) -> Tensor:
        """Executes the work; returns a copy that later replays do not overwrite."""
        if self.left > 0:
            return self._warm_up()
        if self.replay is None:
            self._record()
        assert self.replay is not None
        self.replay()
        return self.result.clone()

    def _warm_up(self) -> Tensor:
        self.left -= 1
        with self.recorder.warming():
            if self.left > 0:
                return self.work()
            before = PythonState(self.parts)
            with _watch(self.refused), watched_hooks(self.parts) as idle:
                found = self.work()
            if changed := before.changes(PythonState(self.parts)):
                idle.append(changed)
            self.refused += idle
            return found

    def _record(self) -> None:
        if self.refused:
            raise NotRecordable(self.refused[0])
        try:
            self.result, self.replay = self.recorder.record(self.work)
        except RuntimeError as error:
            raise NotRecordable(str(error.__cause__ or error)) from error


def _watch(refused: list[str]) -> Any:
    """Context that collects reasons why the operations inside cannot be recorded.

    Such operations must not reach the recorder: a failed recording can leave the random generator
    unusable. If torch does not expose its operations, nothing can be recorded.

    Args:
        refused: the list that receives the reasons.
    """
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:
        refused.append("this version of torch does not expose its operations")
        return nullcontext()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if not refused:
                refused.extend(_reasons(func, args, kwargs, result))
            return result

    return Watch()


def _reasons(func: Any, args: Any, kwargs: Any, result: Any) -> Iterator[str]:
    """Reasons why an operation cannot be recorded."""
    masked = str(func) in INDEXING and any(_is_mask(index) for index in args[1])
    if str(func) in WAITING or masked:
        yield f"{func} waits for the device"
    devices = {tensor.device for tensor in _tensors((args, kwargs, result))}
    if len(devices) > 1:
        yield f"{func} uses tensors on {' and '.join(sorted(map(str, devices)))}"


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)
