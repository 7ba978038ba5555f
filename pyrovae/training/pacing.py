"""How often a run looks at the numbers of its steps."""

from __future__ import annotations

import time

from pyrovae.utils.process_group import Group

__all__ = ["Pace"]


class Pace:
    """Says after how many steps a run reads their numbers, the same in all processes.

    Reading a number waits for a GPU, which has nothing to do until the host goes on. A CPU waits
    anyway, so that its numbers are read after each step.

    Args:
        group: the processes.
        waits: whether reading waits for work that would otherwise go on.

    Attributes:
        every: how many steps lie between two looks.
    """

    #: At most so many steps lie between two looks, and about so many seconds.
    MOST_STEPS, SECONDS = 100, 0.1
    #: After so many steps all is set up, and the time of a step can be measured.
    SETTLED = 8

    def __init__(self, group: Group, waits: bool) -> None:
        self.group, self.waits = group, waits
        self.every, self._steps = 1, 0
        self._last = time.monotonic()

    def start(self) -> None:
        """Begins to count the time, at the start of an epoch."""
        self._last = time.monotonic()

    def read(self, count: int) -> float | None:
        """Is told that so many steps were read; gives a step's seconds, once all is set up."""
        if not self.waits or not count:
            return None
        now, before = time.monotonic(), self._steps
        seconds = self.group.largest(now - self._last) / count
        self._last, self._steps = now, before + count
        self.every = int(min(max(self.SECONDS / max(seconds, 1e-9), 1), self.MOST_STEPS))
        return seconds if before >= self.SETTLED else None
