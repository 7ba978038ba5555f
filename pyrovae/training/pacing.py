"""How often a run reads the terms of its steps from the device."""

from __future__ import annotations

import time

from pyrovae.utils.process_group import Group

__all__ = ["Pace"]


class Pace:
    """Decides after how many steps a run reads their terms, the same in all processes.

    Reading a term from a GPU is a sync: the GPU is idle until the host launches the next step. On
    a CPU a read costs nothing, so the terms are read after each step.

    Args:
        group: the processes.
        waits: whether reading a term is a sync that delays the next step.

    Attributes:
        every: number of steps between two reads.
    """

    #: The largest number of steps between two reads, and the intended time in seconds.
    MOST_STEPS, SECONDS = 100, 0.1
    #: The number of steps before the time per step is measured; earlier ones include set-up.
    SETTLED = 8

    def __init__(self, group: Group, waits: bool) -> None:
        self.group, self.waits = group, waits
        self.every, self._steps = 1, 0
        self._last = time.monotonic()

    def start(self) -> None:
        """Restarts the clock, at the start of an epoch."""
        self._last = time.monotonic()

    def read(self, count: int) -> float | None:
        """Updates `every` after a read; returns the seconds per step.

        Args:
            count: number of steps since the last read.

        Returns:
            The seconds per step; None on a CPU, and before `SETTLED` steps.
        """
        if not self.waits or not count:
            return None
        now, before = time.monotonic(), self._steps
        seconds = self.group.largest(now - self._last) / count
        self._last, self._steps = now, before + count
        self.every = int(min(max(self.SECONDS / max(seconds, 1e-9), 1), self.MOST_STEPS))
        return seconds if before >= self.SETTLED else None
