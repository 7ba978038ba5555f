"""A campaign makes a case from a seed, runs it in a process of its own, and judges it.

Right is the correct result, or one line that says what is wrong. All else is wrong: a traceback,
another result without a word, a warning of a library, a hang, a file lost or left behind, code
that a file had run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import shutil
import signal
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrovae import InputError
from pyrovae.commands import train
from pyrovae.commands.running import run_command
from tests.support.commands import script

SCRIPTS = {name: script(name) for name in ("train", "evaluate", "prepare_data")}
#: The folder, beside those of the campaigns, with the run that was trained to warm up.
WARM = "warm"
#: The exit code of a training that `stop_before_training` ended.
REACHED = 77
ADDRESS_SPACE = 16 * 2**30  # bytes: what asks for more gets an error, and the machine lives


class Wrong(Exception):
    """What is wrong with a case."""


class Campaign(ABC):
    """Cases of one kind of input.

    Attributes:
        name: of the campaign.
        count: how many cases the whole campaign has.
        quick: how many a quick part has.
        limit: seconds that one case may take.
    """

    name: str
    count: int
    quick: int
    limit: float = 120

    def prepare(self, shared: Path) -> None:  # noqa: B027 (a campaign may need nothing)
        """Writes what all cases start from; runs in a process of its own."""

    @abstractmethod
    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        """Makes and runs a case; raises `Wrong`, or anything, if its outcome is not right.

        Args:
            shared: what `prepare` wrote, never changed.
            folder: an empty folder, the current one.
            rng: decides the case.
        """


def copy_run(shared: Path, to: Path) -> None:
    """Copies the run of `TINY` that was trained once for all campaigns."""
    shutil.copytree(shared.parent.parent / WARM / "run", to)


@dataclass(frozen=True)
class Verdict:
    """How a campaign went."""

    name: str
    tried: int
    wrong: dict[int, str]
    seconds: float


def run_campaign(
    campaign: Campaign, root: Path, seed: int, cases: range | list[int], say: Callable[[str], Any]
) -> Verdict:
    """Runs cases of a campaign; says what is wrong as soon as it is found."""
    begun, wrong = time.monotonic(), {}
    shared = root / campaign.name / "shared"
    shared.mkdir(parents=True)
    if found := apart(lambda: campaign.prepare(shared), shared, campaign.limit):
        raise RuntimeError(f"{campaign.name}: cannot be prepared: {found}")
    before = contents(shared)
    for case in cases:
        if found := run_case(campaign, shared, root, seed, case):
            wrong[case] = found
            say(f"{campaign.name} --seed {seed} --case {case}: {found}")
    if changed(before, contents(shared)):
        raise RuntimeError(f"{campaign.name}: a case changed what all cases start from")
    return Verdict(campaign.name, len(cases), wrong, time.monotonic() - begun)


def run_case(campaign: Campaign, shared: Path, root: Path, seed: int, case: int) -> str:
    """What is wrong with a case; "" if it is right."""
    folder = root / campaign.name / f"case{case}"
    folder.mkdir()
    rng = random.Random(f"{seed}/{campaign.name}/{case}")
    found = apart(lambda: campaign.attempt(shared, folder, rng), folder, campaign.limit)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def apart(call: Callable[[], Any], folder: Path, limit: float) -> str:
    """Runs something in a fork, in a folder; returns what went wrong, "" if nothing did."""
    texts = folder.with_name(f"{folder.name}.texts")
    texts.mkdir(exist_ok=True)
    pid = os.fork()
    if not pid:
        _be_apart(call, folder, texts)
    code = wait_for(pid, limit)
    verdict = (texts / "verdict").read_text() if (texts / "verdict").exists() else None
    said = (texts / "stderr").read_text(errors="replace")
    shutil.rmtree(texts)
    if code is None:
        return f"hangs for {limit:.0f} s"
    if code or verdict is None:
        return f"ends with {code}: {said[-300:]}"
    return verdict


def wait_for(pid: int, limit: float) -> int | None:
    """The exit code of a child and leader of a group; None if it had to be killed at the limit."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            _kill_group(pid)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.002)
    _kill_group(pid)
    os.waitpid(pid, 0)
    return None


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _be_apart(call: Callable[[], Any], folder: Path, texts: Path) -> None:
    """What the forked process does; never returns."""
    code = 1
    try:
        os.setsid()
        enter(folder, texts)
        said = _wrong_with(call)
        if not said and (rest := unread()):
            said = f"prints {rest[:300]!r}"
        (texts / "verdict").write_text(said)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wrong_with(call: Callable[[], Any]) -> str:
    try:
        call()
    except Wrong as error:
        return str(error) or "wrong"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-6:]))
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({where})"
    return ""


_read = 0
_texts = Path()
logged: list[str] = []
called: list[str] = []


def enter(folder: Path, texts: Path) -> None:
    """Makes a folder the current one; what is printed goes to files, what is logged to a list."""
    global _read, _texts
    _read, _texts = 0, texts
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(texts / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(file, number)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    logger, handler = logging.getLogger("pyrovae"), logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logger.handlers, logger.propagate = [handler], False
    os.environ["PYROVAE_CACHE"] = str(folder / "cache")
    _limit_memory()
    sys.addaudithook(_note_call)


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


_CODE = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")


def _note_call(event: str, args: tuple[Any, ...]) -> None:
    # jsonargparse looks for type stubs where this Python would.
    if event in _CODE and "json.dumps(sys.path)" not in str(args):
        called.append(f"{event} {args!r}"[:200])


def unread() -> str:
    """What this process has written to stderr since the last time."""
    global _read
    sys.stderr.flush()
    with open(_texts / "stderr", "rb") as file:
        file.seek(_read)
        found = file.read()
    _read += len(found)
    return found.decode(errors="replace")


@dataclass(frozen=True)
class Answer:
    """How a command ended: its exit code and its line on stderr."""

    code: int
    error: str

    @property
    def refused(self) -> bool:
        """Whether it ended with a line of error."""
        return self.code in (1, 2)


def command(name: str, *arguments: str) -> Answer:
    """Runs a script as the command line would, and checks that it ends with a line or in peace."""
    sys.argv = [f"{name}.py", *arguments]
    unread()
    try:
        run_command(SCRIPTS[name].main)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    return checked_answer(code, unread())


def checked_answer(code: int, error: str) -> Answer:
    """A command's answer; raises `Wrong` unless it is in peace, or a line with its code."""
    if code in (1, 2):
        check_line(error.removesuffix("\n").removeprefix("error: "))
        if not error.startswith("error: "):
            raise Wrong(f"ends with {code} and {error[:300]!r}")
    elif error:
        raise Wrong(f"ends with {code} and prints {error[:300]!r}")
    elif code not in (0, REACHED):
        raise Wrong(f"ends with {code}")
    return Answer(code, error)


def refusal(call: Callable[[], Any]) -> str:
    """The line with which a call is refused; "" if it is not."""
    try:
        call()
    except InputError as error:
        check_line(str(error))
        return str(error)
    return ""


def check_line(line: str) -> None:
    """Raises `Wrong` unless a message is one line, of no more than a screen."""
    if not line.strip() or "\n" in line or "Traceback" in line or len(line) > 3000:
        raise Wrong(f"an error that is not one line: {line[:300]!r}")
    if any(not letter.isprintable() for letter in line):
        raise Wrong(f"an error that cannot be printed: {line[:300]!r}")


class Stopped(SystemExit):
    """Training would have begun."""


@contextmanager
def stop_before_training() -> Iterator[dict[str, Any]]:
    """Ends a training once its VAE is built, with code `REACHED`; gives its configuration."""
    parse_run, build = train.parse_run, train.build_vae
    found: dict[str, Any] = {}

    def parsed(*args: Any) -> Any:
        found["answer"] = parse_run(*args)
        return found["answer"]

    def built(objects: Any) -> Any:
        train.recipe(objects)
        build(objects)
        raise Stopped(REACHED)

    train.parse_run, train.build_vae = parsed, built
    try:
        yield found
    finally:
        train.parse_run, train.build_vae = parse_run, build


def contents(folder: Path) -> dict[str, str]:
    """A hash of each file below a folder, by its path; locks left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "verified.json")
    }


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The paths whose file was changed, lost or added."""
    return sorted(key for key in before | after if before.get(key) != after.get(key))


def check_nothing_left(folder: Path) -> None:
    """Raises `Wrong` if a temporary file or folder is left below a folder."""
    kinds = (".*.tmp", "*.tmp", ".train-*", ".val-*", ".test-*")
    if left := [str(path) for kind in kinds for path in folder.rglob(kind)]:
        raise Wrong(f"leaves {left[0]}")


def check_no_code() -> None:
    """Raises `Wrong` if this process has run code that a file may have named."""
    if called:
        raise Wrong(f"runs {called[0]}")
