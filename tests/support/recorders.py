"""Stands in for a GPU's recorder: what it repeats is operations on addresses, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrovae.training.recording import WAITING, Recorder


class Operations(TorchDispatchMode):
    """Notes the operations below autograd, with the tensors that they read and write.

    All tensors are kept: what an operation wrote stays at its address.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) in WAITING:
            raise RuntimeError("operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = {_memory(tensor) for tensor in _tensors((args, kwargs)).values()}
        new = [(i, t) for i, t in _tensors(result).items() if _memory(t) not in given]
        if new or func._schema.is_mutable:  # Views stay views of what is written anew.
            self.noted.append((func, args, kwargs, new))
        return result

    def repeat(self) -> None:
        """Does the same again: what was new then is overwritten."""
        with torch.no_grad():
            for func, args, kwargs, new in self.noted:
                found = _tensors(func(*args, **kwargs))
                for place, tensor in new:
                    tensor.copy_(found[place])


def _tensors(value: Any) -> dict[int, Tensor]:
    """The tensors in a value, by their place."""
    return {i: leaf for i, leaf in enumerate(tree_leaves(value)) if isinstance(leaf, Tensor)}


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class TracingRecorder(Recorder):
    """Records the operations of work on the CPU.

    As with a CUDA graph, numbers of Python are those of the recording, and only what lies in
    tensors stays live. Recording does the work once, which counts as the first replay.
    """

    def __init__(self) -> None:
        self.replays = 0

    def warming(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        with (operations := Operations()):
            result = work()
        first = True

        def replay() -> None:
            nonlocal first
            if not first:
                operations.repeat()
            first = False
            self.replays += 1

        return result, replay


class RefusingRecorder(Recorder):
    """Refuses to record anything."""

    def warming(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")
