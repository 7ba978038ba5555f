"""The processes of a benchmark: one per loop, each with its own cache of compiled code."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from benchmarking.isolation import Worker, alone
from benchmarking.loops import LOOPS
from benchmarking.reasons import NotRun
from benchmarking.timing import start_compiler

__all__ = ["Workers"]


class Workers:
    """One process per loop, reused for all cases, because starting a process takes seconds.

    Args:
        root: an empty folder for compiled code.
        device: the device of the loops.
    """

    def __init__(self, root: Path, device: torch.device) -> None:
        self.root, self.device = root, device
        self._workers: dict[str, Worker] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def get(self, loop: str) -> Worker:
        """Returns the process of a loop; starts a new one if there is none or it has ended."""
        if loop not in self._workers or self._workers[loop].ended:
            cache = self._cache(loop) if LOOPS[loop].compiled else None
            self._workers[loop] = self._stack.enter_context(Worker(cache))
        return self._workers[loop]

    def _cache(self, loop: str) -> Path:
        """The cache folder of a loop; it begins with the files of the compiler's start only.

        The compiled code of another loop would make compiling seem fast.
        """
        start, own = self.root / "start", self.root / loop
        if not start.exists():
            start.mkdir()
            with suppress(NotRun):  # Each compiled loop reports the reason.
                alone(start_compiler, self.device, cache=start)
        if not own.exists():
            shutil.copytree(start, own)
        return own
