"""The memory that a process holds while it reads a large file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def most_resident(path: Path, shape: tuple[int, ...], before: str, loop: str) -> float:
    """The growth of resident memory in MB over a loop in a new process.

    Args:
        path: a `.npy` file of zeros, which takes no space, to write first; `path` in the code.
        shape: the shape of its uint8 array.
        before: code that runs before the measurement starts.
        loop: the head of the loop.
    """
    program = f"""
import numpy as np
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
path, shape = {str(path)!r}, {shape}
with open(path, "wb") as file:
    np.lib.format.write_array_header_1_0(
        file, dict(descr="|u1", fortran_order=False, shape=shape))
    file.truncate(file.tell() + int(np.prod(shape)))
{before}
before, most = resident(), 0
{loop}
    most = max(most, resident() - before)
print(most)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)
