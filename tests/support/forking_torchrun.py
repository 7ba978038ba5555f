"""`torchrun`, whose processes do not wait for imports: what it starts is forked from it.

Options, agent, rendezvous and restarts are those of `torchrun`.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

from tests.support.processes import FORKS


class Forked:
    """What `torchrun` needs of `Popen`; runs a Python script without a new interpreter."""

    def __init__(self, args: tuple[str, ...], env: dict[str, str], *others: Any) -> None:
        python, unbuffered, *given = args
        assert (python, unbuffered) == (sys.executable, "-u")
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_work, args=(given, env))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired("torchrun", timeout or 0)
        return code


def _work(given: list[str], environment: dict[str, str]) -> None:
    """What the new process does; it has the signals and the name that a new program has."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    Path("/proc/self/comm").write_text(f"rank {environment['RANK']}")
    sys.argv = given
    sys.path[0] = str(Path(given[0]).parent)
    runpy.run_path(given[0], run_name="__main__")


if __name__ == "__main__":
    if FORKS:
        SubprocessHandler._popen = lambda self, *given: Forked(*given)  # type: ignore[assignment]
    run.main()
