"""Runs work in a separate process, and reports any crash of it in one line."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import IO, Any

from benchmarking.reasons import NotRun, explain, in_one_line
from pyrovae.utils.signals import quiet

__all__ = ["Worker", "alone", "once"]

Work = Callable[..., Iterator[Any]]


class Worker:
    """A process that runs a generator, and answers each request with the next yielded value.

    It sleeps while it waits for a request, and has its own temporary folder. It ends when its
    work fails, when it is closed, or when this process ends for any reason.

    Args:
        cache: the folder of the compiler's cache; by default an empty folder.

    Attributes:
        ended: whether this process has seen the worker end.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self.ended = False
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._errors = folder / "errors"
        own = {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TMPDIR": str(folder),
            "TORCHINDUCTOR_CACHE_DIR": str(cache or folder / "compiled"),
        }
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | own,
                start_new_session=True,  # Ctrl-C must reach the reporting process only.
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, work: Work, *arguments: Any) -> None:
        """Starts a generator in place of the current one; `receive` returns its first value.

        Args:
            work: a generator function that can be pickled.
            arguments: its arguments, which can be pickled.
        """
        self._send(work, arguments)

    def ask(self, request: Any = None) -> Any:
        """Sends a request to the generator and waits for the answer.

        Raises:
            NotRun: if the work fails, or the process has ended.
        """
        self._send(None, request)
        return self.receive()

    def _send(self, work: Work | None, request: Any) -> None:
        assert self._process.stdin is not None and not self.ended
        with suppress(BrokenPipeError):  # `receive` reports why the process ended.
            pickle.dump(pickle.dumps((work, request)), self._process.stdin)
            self._process.stdin.flush()

    def receive(self) -> Any:
        """Waits for an answer.

        Raises:
            NotRun: if the work fails, or the process has ended.
        """
        assert self._process.stdout is not None
        try:
            failed, answer = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            failed, answer = True, self._ending()
        if failed:
            self.close()
            raise NotRun(answer)
        return answer

    def _ending(self) -> str:
        """One line on the end of the process: exit code or signal, and its last error line."""
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        lines = self._errors.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"its process ended with {how}" + (f": {in_one_line(last)}" if last else "")

    def close(self) -> None:
        """Kills the process and removes its temporary folder."""
        self.ended = True
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # The pipe may still hold a request.
                pipe.close()
        self._folder.cleanup()


def alone(function: Callable[..., Any], *arguments: Any, cache: Path | None = None) -> Any:
    """Calls a function in a separate process and returns its result.

    Args:
        function: the function; it and its result can be pickled.
        arguments: its arguments.
        cache: the folder of the compiler's cache; by default an empty folder.

    Raises:
        NotRun: if the function raises, or the process ends.
    """
    with Worker(cache) as worker:
        worker.begin(once, function, *arguments)
        return worker.receive()


def once(function: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """A generator with a single value, the result of a function."""
    yield function(*arguments)


def main() -> None:
    """Runs the worker: requests come from standard input, answers go to standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(
        sys.stderr.fileno(), sys.stdout.fileno()
    )  # Text that libraries print is not an answer.
    requests: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    with quiet():
        _serve(requests, answers)


def _read(stream: IO[bytes], requests: SimpleQueue[Any]) -> None:
    """Queues requests; ends this process when the parent has closed the pipe, even during work."""
    try:
        while True:
            requests.put(pickle.load(stream))
    except EOFError:
        pass
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(1)


def _serve(requests: SimpleQueue[Any], answers: IO[bytes]) -> None:
    """Answers requests until this process ends."""
    running: Any = once(int)
    while True:
        given = requests.get()
        try:
            work, request = pickle.loads(given)  # Imports what they need.
            if work is not None:
                running.close()  # First, since the next generator may need its memory.
                running, request = work(*request), None
            answer = (False, running.send(request))
        except BaseException as error:  # Compilers and other people's code fail in many ways.
            answer = (True, str(explain(error)))
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
