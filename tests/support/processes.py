"""Scripts in processes of their own, which do not wait for imports.

Each is forked from a process that has imported what all scripts need and done nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

FORKS = sys.platform == "linux"  # Elsewhere forks of a process that has imported torch may fail.
LIMIT = 300  # seconds
#: Optimisers import dynamo and all runs draw, in every process anew.
IMPORTED = ["pyrovae.config.options", "pyrovae.config.building", "pyrovae.utils.grids", "tqdm"]
IMPORTED += ["torch._dynamo", "pyrovae.commands.train", "pyrovae.training.history", "pandas"]
IMPORTED += ["matplotlib.figure", "matplotlib.backends.backend_agg", "jinja2"]
IMPORTED += ["torch.utils.tensorboard", "tensorboard.plugins.hparams.metadata"]
IMPORTED += ["benchmarking.suite"]


class Script:
    """A script that runs beside this process."""

    def __init__(self, script: Path, *arguments: str, folder: Path | None = None) -> None:
        self.name = " ".join([script.name, *arguments])
        self._place = tempfile.TemporaryDirectory()
        self._texts = [Path(self._place.name) / name for name in ("stdout", "stderr")]
        for text in self._texts:
            text.touch()
        given = (str(script), arguments, folder or Path.cwd(), self._texts, dict(os.environ))
        self._process = _forked(given) if FORKS else _started(given)

    @property
    def runs(self) -> bool:
        return self._process.is_alive() if FORKS else self._process.poll() is None

    @property
    def pid(self) -> int:
        number = self._process.pid
        assert number is not None
        return number

    def printed(self) -> str:
        """What it has printed so far."""
        return self._texts[0].read_text()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Waits for the end; kills the process and raises `TimeoutError` after so many seconds."""
        code = self._code(limit)
        if code is None:
            self._process.kill()
            self._code(None)
        texts = [text.read_text() for text in self._texts]
        self._place.cleanup()
        if code is None:
            raise TimeoutError(f"{self.name}: {texts[1]}")
        return subprocess.CompletedProcess([self.name], code, *texts)

    def _code(self, limit: float | None) -> int | None:
        if FORKS:
            self._process.join(limit)
            return self._process.exitcode
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            return None


def run_script(
    script: Path, *arguments: str, folder: Path | None = None, limit: float = LIMIT
) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end, as `subprocess.run` would."""
    return Script(script, *arguments, folder=folder).end(limit)


def _started(given: tuple[str, tuple[str, ...], Path, list[Path], dict[str, str]]) -> Any:
    script, arguments, folder, (stdout, stderr), _ = given
    with open(stdout, "wb") as out, open(stderr, "wb") as errors:
        return subprocess.Popen(
            [sys.executable, script, *arguments], stdout=out, stderr=errors, cwd=folder
        )


def _forked(given: tuple[str, tuple[str, ...], Path, list[Path], dict[str, str]]) -> Any:
    process = context().Process(target=_run, args=given)
    process.start()
    return process


def context() -> ForkServerContext:
    """What starts processes that have imported what all scripts need."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(IMPORTED)
    return found


def _run(
    script: str,
    arguments: tuple[str, ...],
    folder: Path,
    texts: list[Path],
    environment: dict[str, str],
) -> None:
    """What the new process does."""
    # A shell in the background ignores SIGINT, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    os.chdir(folder)
    for number, text in enumerate(texts, start=1):
        os.dup2(os.open(text, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
