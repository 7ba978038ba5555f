"""Atomic writing of files, and the folder of the cache."""

from __future__ import annotations

import glob
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyrovae.utils.errors import InputError

__all__ = [
    "cache_root",
    "check_new",
    "check_writable",
    "new_folder",
    "replace_file",
    "replacing",
    "sweep",
    "temporary_for",
    "write_between",
]

#: Age up to which a temporary file may belong to a process on another machine.
SECONDS_IN_WORK = 60


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """The folder of the cache: prepared images, texts of `--help`.

    Args:
        cache_dir: the folder; by default `PYROVAE_CACHE`, else `XDG_CACHE_HOME/pyrovae`, else
            `~/.cache/pyrovae`.
    """
    chosen = cache_dir or os.environ.get("PYROVAE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pyrovae"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` at the end.

    At any moment `path` holds either the old content or the complete new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary = temporary_for(path)
    try:
        yield temporary
        # Windows cannot synchronise a file that is open for reading only.
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # An error of Pillow, whose text has the reason.
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes | str) -> None:
    """Replaces a file by one with this content, at once; see `replacing`. Texts are UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())


def check_writable(folder: Path, hint: str = "") -> None:
    """Raises `InputError` unless files can be written into a folder, which is made.

    Args:
        folder: the folder.
        hint: the end of the message.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}{hint}") from error


def write_between(path: Path, marks: tuple[str, str], content: str) -> None:
    """Replaces the text between two lines of a file.

    Args:
        path: the file.
        marks: the two lines, each with its end; the file has each once.
        content: the new text.

    Raises:
        InputError: if a line is missing or occurs twice.
    """
    text, (begin, end) = path.read_text(encoding="utf-8"), marks
    if text.count(begin) != 1 or text.count(end) != 1:
        raise InputError(f"{path}: needs the lines {begin.strip()} and {end.strip()}, once each")
    before, rest = text.split(begin)
    replace_file(path, f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}")


def check_new(path: Path) -> None:
    """Raises `InputError` if a path exists and is not an empty folder."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists already; name a new folder")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder to fill, and renames it to `path` at the end.

    Raises:
        InputError: if the path exists and is not an empty folder.
    """
    check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_for(path)
    try:
        temporary.mkdir()
        yield temporary
        if path.is_dir():
            path.rmdir()  # Windows does not replace a folder.
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_for(path: Path) -> Path:
    r"""A temporary path in the folder of a file; its name contains the process and the machine.

    Example:
        >>> import re
        >>> name = temporary_for(Path("metrics.csv")).name
        >>> bool(re.fullmatch(r"\.metrics\.csv\.[0-9]+@[\w-]*\.tmp", name))
        True
    """
    return path.with_name(f".{path.name}.{os.getpid()}@{_host()}.tmp")


def sweep(path: Path) -> None:
    """Deletes temporary files for a path that killed processes left."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid, _, host = left.name.split(".")[-2].partition("@")
        with suppress(OSError):
            # A process on another machine uses its temporary file for seconds only.
            here = host == _host() != ""
            old = time.time() - left.stat().st_mtime > SECONDS_IN_WORK
            if (here or old) and not _lives(pid):
                left.unlink()


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname())


def _lives(pid: str) -> bool:
    """Whether a process with this id runs on this machine; False if this cannot be found out."""
    if os.name != "posix" or not re.fullmatch("[0-9]{1,9}", pid):
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
