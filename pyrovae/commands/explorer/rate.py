"""A limit on the number of answers per second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Rate"]


class Rate:
    """A bucket of permissions that fills steadily.

    Args:
        per_second: permissions that come in per second.
        burst: permissions that the bucket holds.
        clock: seconds since any time.

    Example:
        >>> rate = Rate(per_second=1, burst=2, clock=lambda: 0.0)
        >>> [rate.allows() for _ in range(3)]
        [True, True, False]
    """

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_second, self.burst, self._clock = per_second, burst, clock
        self._left, self._then = burst, clock()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Takes a permission; whether there was one."""
        with self._lock:
            now = self._clock()
            filled = self._left + self.per_second * (now - self._then)
            self._left, self._then = min(self.burst, filled), now
            if self._left < 1:
                return False
            self._left -= 1
            return True
