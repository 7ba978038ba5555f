"""The processes of a benchmark: one for each loop, each with compiled code only of its own."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from benchmarking.isolation import Worker, alone
from benchmarking.loops import LOOPS, NotRun
from benchmarking.timing import start_compiler

__all__ = ["Workers"]


class Workers:
    """A process for each loop, in which it runs in all cases: starting one takes seconds.

    Args:
        root: an empty folder, for what is compiled.
        device: what is compiled for.
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
        """The process of a loop: a new one at first, and after one that has ended."""
        if loop not in self._workers or self._workers[loop].ended:
            cache = self._cache(loop) if LOOPS[loop].compiled else None
            self._workers[loop] = self._stack.enter_context(Worker(cache))
        return self._workers[loop]

    def _cache(self, loop: str) -> Path:
        """The compiled code of a loop; at first only what the compiler's own start leaves.

        What another loop compiled would make compiling look quick.
        """
        start, own = self.root / "start", self.root / loop
        if not start.exists():
            start.mkdir()
            with suppress(NotRun):  # Each loop that compiles will say why.
                alone(start_compiler, self.device, cache=start)
        if not own.exists():
            shutil.copytree(start, own)
        return own
