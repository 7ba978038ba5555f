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
        _seed(seed, device)
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def _seed(seed: int, device: torch.device) -> None:
    """Seeds the generators of the CPU and of one device.

    `torch.manual_seed` would seed all other GPUs too, and those of a later start of CUDA, which
    nothing restores. In a process without CUDA it takes a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
