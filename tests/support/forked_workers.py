"""Workers of the benchmark that do not wait for imports."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from benchmarking import isolation

from tests.support.processes import FORKS, context


class Forked:
    """What a worker needs of `Popen`; its process is forked from one that has imported torch."""

    def __init__(
        self, command: list[str], stderr: IO[bytes], env: dict[str, str], **others: Any
    ) -> None:
        assert command == [sys.executable, "-m", isolation.__name__]
        (reads, sends), (receives, answers) = os.pipe(), os.pipe()
        ends = Connection(reads, writable=False), Connection(answers, readable=False)
        self._process = context().Process(target=_run, args=(*ends, Path(stderr.name), env))
        self._process.start()
        for end in ends:
            end.close()
        self.pid = self._process.pid
        self.stdin, self.stdout = os.fdopen(sends, "wb"), os.fdopen(receives, "rb")

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


def _run(
    given: Connection, answers: Connection, errors: Path, environment: dict[str, str]
) -> None:
    """What the new process does."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    written = os.open(errors, os.O_WRONLY | os.O_APPEND)
    for number, source in enumerate((given.fileno(), answers.fileno(), written)):
        os.dup2(source, number)
    given.close()
    answers.close()
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    isolation.main()


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers start at once; how they start otherwise is tested by those that do not fork."""
    if FORKS:
        monkeypatch.setattr(isolation, "subprocess", SimpleNamespace(Popen=Forked, PIPE=-1))
    yield
