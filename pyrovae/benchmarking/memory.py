"""The most memory that a loop takes, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pyrovae.benchmarking.cases import CASES
from pyrovae.benchmarking.loops import LOOPS, Loop, NotRun, Setting
from pyrovae.interruption import quiet

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
    wanted = [setting.case.name, str(setting.case.batch_size), str(setting.device)]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-m", __name__, name, *wanted, setting.precision],
            capture_output=True,
            text=True,
            env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache},
        )
    if done.returncode:
        raise NotRun((done.stderr.strip() or "stopped without a word").splitlines()[-1])
    return int(json.loads(done.stdout.splitlines()[-1]))


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


def main(arguments: Sequence[str]) -> None:
    """Prints the bytes of one loop: its name, case, batch size, device and precision."""
    name, case, batch_size, device, precision = arguments
    chosen = replace(CASES[case], batch_size=int(batch_size))
    with quiet():
        try:
            print(measure(name, Setting(chosen, torch.device(device), precision)), flush=True)
        except NotRun as error:
            raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(sys.argv[1:])
