"""The peak memory of a loop, measured in a separate process."""

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
    """The peak memory of a loop in bytes, relative to before the loop was built.

    It includes compilation, which starts from an empty cache.

    Args:
        name: the loop, a key of `LOOPS`.
        setting: case, device and precision.

    Raises:
        NotRun: if the loop fails.
    """
    return int(alone(measure, name, setting))


def measure(name: str, setting: Setting) -> int:
    """Measures `peak_bytes` in this process."""
    before = _bytes_now()
    loop = Loop(LOOPS[name], setting)
    for _ in range(STEPS):
        loop.first()
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
        return torch.cuda.max_memory_allocated(setting.device)
    return _bytes_at_most() - before


def _bytes_now() -> int:
    """Resident bytes; where the system does not report them, the peak so far."""
    return _status("VmRSS") if STATUS.exists() else _bytes_at_most()


def _bytes_at_most() -> int:
    """The peak of resident bytes."""
    # On Linux a child process inherits its parent's maximum in `getrusage`.
    if STATUS.exists():
        return _status("VmHWM")
    import resource

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


def _status(key: str) -> int:
    lines = STATUS.read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])
