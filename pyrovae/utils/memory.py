"""The peak memory of this process and of its device."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

__all__ = ["peak_device_bytes", "peak_resident_bytes", "status_bytes"]

_STATUS = Path("/proc/self/status")


def peak_resident_bytes() -> int | None:
    """The largest resident memory of this process so far; None where it is not reported."""
    # On Linux a child process inherits its parent's maximum in `getrusage`.
    if (found := status_bytes("VmHWM")) is not None:
        return found
    try:
        import resource
    except ImportError:  # Windows.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def status_bytes(key: str) -> int | None:
    """A number of bytes in the kernel's status of this process; None where there is none."""
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return 1024 * int(found[0]) if found else None


def peak_device_bytes(device: torch.device) -> int | None:
    """The largest memory of tensors on a CUDA device so far; None for other devices."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
