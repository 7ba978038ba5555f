"""The most memory that a loop takes, measured in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from benchmarking.isolation import alone
from benchmarking.loops import LOOPS, Loop, Setting

__all__ = ["peak_bytes"]

STEPS = 10
STATUS = Path("/proc/self/status")


def peak_bytes(name: str, setting: Setting) -> int:
    """What training by a loop takes at most, beyond what was there before it was built.

    Compiling included: it starts from an empty cache.

    Args:
        name: of the loop, among `LOOPS`.
        setting: what to run on.

    Raises:
        NotRun: if it fails.
    """
    return int(alone(measure, name, setting))


def measure(name: str, setting: Setting) -> int:
    """As `peak_bytes`, of this process."""
    before = _bytes_now()
    loop = Loop(LOOPS[name], setting)
    for _ in range(STEPS):
        loop.first()
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
        return torch.cuda.max_memory_allocated(setting.device)
    return _bytes_at_most() - before


def _bytes_now() -> int:
    """Resident bytes; where the system does not say, the most there were so far."""
    return _status("VmRSS") if STATUS.exists() else _bytes_at_most()


def _bytes_at_most() -> int:
    """The most resident bytes there were."""
    # Linux hands the maximum that `getrusage` tells down from a process to those it starts.
    if STATUS.exists():
        return _status("VmHWM")
    import resource

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


def _status(key: str) -> int:
    lines = STATUS.read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])
