"""Whether other processes take the cores that the threads of this one need."""

from __future__ import annotations

import time

__all__ = ["Contention"]


class Contention:
    """Warns once if other processes interrupt the threads of this process all the time.

    Threads that compute together wait for the slowest one. If another process needs one of their
    cores, each operation waits for the scheduler. With two threads on two cores, one of them busy,
    training was 40 times slower. With one thread it was hardly slower.

    Args:
        threads: the number of threads that compute together.

    Example:
        >>> Contention(threads=1).line()
        ''
    """

    #: Seconds of work that are watched.
    WATCHED = 10.0
    #: Interruptions per second by others. A process alone on its machine has 30.
    OFTEN = 100

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._began, self._count = time.monotonic(), interruptions()
        self._told = threads < 2 or self._count is None

    def line(self) -> str:
        """The warning, once after ten seconds; empty if there is none, and at other times."""
        if self._told or (seconds := time.monotonic() - self._began) < self.WATCHED:
            return ""
        self._told = True
        often = ((interruptions() or 0) - (self._count or 0)) / seconds
        if often < self.OFTEN:
            return ""
        return (
            f"warning: other processes need the cores of this machine and interrupt the "
            f"{self.threads} threads of this run {often:,.0f} times per second; fewer threads may "
            "be many times faster, such as OMP_NUM_THREADS=1 before the command"
        )


def interruptions() -> int | None:
    """How often the scheduler has interrupted threads of this process; None if it is unknown."""
    try:
        import resource
    except ImportError:  # Windows.
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
