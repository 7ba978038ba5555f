"""Random draws that restore torch's generators afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["private_randomness"]


@contextmanager
def private_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch within the block, and restores its generators afterwards."""
    devices = [device] if device.type == "cuda" else []
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)
