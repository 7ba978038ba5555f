"""The peak memory of a loop, measured in a separate process."""

from __future__ import annotations

import torch

from benchmarking.isolation import alone
from benchmarking.loops import LOOPS, Loop, Setting
from pyrovae.utils.memory import peak_resident_bytes, status_bytes

__all__ = ["peak_bytes"]

STEPS = 10


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
    before = status_bytes("VmRSS") or peak_resident_bytes() or 0
    loop = Loop(LOOPS[name], setting)
    for _ in range(STEPS):
        loop.first()
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
        return torch.cuda.max_memory_allocated(setting.device)
    return (peak_resident_bytes() or 0) - before
