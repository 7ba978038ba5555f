from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyrovae.data import cache
from pyrovae.data.base import Source
from pyrovae.data.cache import cache_root, cached_split, checksum
from pyrovae.data.workers import map_in_order
from pyrovae.utils.errors import InputError
from tests.support.cached import Numbered, entries
from tests.support.processes import Script

SLOW = Path(__file__).parent.parent / "support" / "slow_build.py"


def test_built_once_and_mapped(tmp_path: Path) -> None:
    data = Numbered(tmp_path, count=1000)
    split = data.split("train")
    assert len(split) == 1000 and data.reads == 1000
    assert isinstance(split.images, np.memmap) and split.images.mode == "r"
    np.testing.assert_array_equal(split.images[:, 0, 0, 0], np.arange(1000) % 256)
    np.testing.assert_array_equal(split.attributes[:, 0], np.arange(1000))
    assert split.names[:2] == ["0.jpg", "1.jpg"] and split.attribute_names == ("number",)
    assert split.table().loc["7.jpg", "number"] == 7
    data.split("train")
    Numbered(tmp_path, count=1000).split("train")
    assert data.reads == 1000 and entries(tmp_path) == {"train"}


def test_manifest(tmp_path: Path) -> None:
    data = Numbered(tmp_path)
    split = data.split("val")
    (folder,) = tmp_path.glob("Numbered-*/val")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["settings"] == {"version": 0, "where": str(tmp_path)}
    assert manifest["fingerprint"] == "first" and manifest["count"] == 100
    assert manifest["skipped"] == [] and len(manifest["names"]) == 100
    assert manifest["checksums"]["images.npy"] == checksum(split.images)
    assert manifest["checksums"]["attributes.npy"] == checksum(split.attributes)
    assert manifest["bytes"]["images.npy"] == (folder / "images.npy").stat().st_size


def test_other_settings_are_kept_beside(tmp_path: Path) -> None:
    Numbered(tmp_path).split("train")
    Numbered(tmp_path, version=1).split("train")
    assert len(list(tmp_path.glob("Numbered-*/train"))) == 2


def test_changed_files_replace_the_array(tmp_path: Path) -> None:
    before = Numbered(tmp_path).split("train")
    data = Numbered(tmp_path, count=50)
    data.stamp = "second"
    after = data.split("train")
    assert len(after) == 50 and entries(tmp_path) == {"train"}
    np.testing.assert_array_equal(before.images[:, 0, 0, 0], np.arange(100))  # still open


@pytest.mark.parametrize("name", ["images.npy", "attributes.npy", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_array_is_rebuilt(tmp_path: Path, name: str, damage: str) -> None:
    Numbered(tmp_path).split("train")
    (path,) = tmp_path.glob(f"Numbered-*/train/{name}")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.unlink()
    data = Numbered(tmp_path)
    assert len(data.split("train")) == 100 and data.reads == 100


def test_first_bad_item_is_raised(tmp_path: Path) -> None:
    data = Numbered(tmp_path, count=500)
    data.bad = (70, 71, 400)
    with pytest.raises(InputError, match=r"^/images/70\.jpg: not an image \(--data.on_error skip"):
        data.split("train")
    assert entries(tmp_path) == set()


def test_bad_items_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Numbered(tmp_path)
    data.bad, data.on_error = (3, 40, 99), "skip"
    with caplog.at_level(logging.WARNING, "pyrovae"):
        split = data.split("train")
    kept = [i for i in range(100) if i not in data.bad]
    np.testing.assert_array_equal(split.images[:, 0, 0, 0], kept)
    np.testing.assert_array_equal(split.attributes[:, 0], kept)
    assert list(split.names) == [f"{i}.jpg" for i in kept]
    (record,) = caplog.records
    assert "3 of 100" in record.getMessage() and "/images/3.jpg" in record.getMessage()
    (path,) = tmp_path.glob("Numbered-*/train/manifest.json")
    skipped = json.loads(path.read_text())["skipped"]
    assert [entry["name"] for entry in skipped] == ["3.jpg", "40.jpg", "99.jpg"]
    assert "not an image" in skipped[0]["reason"]
    data.split("train")
    assert data.reads == 100


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7])
def test_workers_that_share_slots_keep_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(cache, "_CHUNK_IMAGES", chunk)
    data = Numbered(tmp_path, count=1000)
    data.bad, data.on_error = (0, 5, *range(300, 420), 999), "skip"
    split = data.split("train")
    kept = np.array([i for i in range(1000) if i not in data.bad])
    np.testing.assert_array_equal(split.images[:, 0, 1, 2], kept % 256)
    np.testing.assert_array_equal(split.attributes[:, 0], kept)
    (path,) = tmp_path.glob("Numbered-*/train/manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["checksums"]["images.npy"] == checksum(split.images)


def test_an_array_with_gaps_does_not_hide_an_error(tmp_path: Path) -> None:
    data = Numbered(tmp_path)
    data.bad, data.on_error = (3,), "skip"
    data.split("train")
    data.on_error = "raise"
    with pytest.raises(InputError, match="3.jpg"):
        data.split("train")
    data.bad = ()
    assert len(data.split("train")) == 100


def test_all_items_bad(tmp_path: Path) -> None:
    data = Numbered(tmp_path, count=5)
    data.bad, data.on_error = (0, 1, 2, 3, 4), "skip"
    with pytest.raises(
        InputError, match="none of the 5 images can be read, the first: /images/0.jpg"
    ):
        data.split("train")
    assert entries(tmp_path) == set()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_interrupted_build_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    data = Numbered(tmp_path)

    def read(item: int) -> np.ndarray:
        raise error

    data.read = read  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        data.split("train")
    assert entries(tmp_path) == set()


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            Numbered(tmp_path).split("train")
    assert not isinstance(caught.value, InputError) and entries(tmp_path) == set()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "open", lambda *_: open("/dev/full", "wb"), raising=False)
    with pytest.raises(OSError, match="No space left"):
        Numbered(tmp_path, count=20_000).split("train")
    assert entries(tmp_path) == set()


def test_cache_in_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="PYROVAE_CACHE chooses another folder"):
        Numbered(tmp_path / "file").split("train")


def test_wrong_shape_is_a_bug_of_the_source(tmp_path: Path) -> None:
    data = Numbered(tmp_path)
    data.read = lambda item: np.zeros((1, 1, 1), np.uint8)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="must return uint8"):
        data.split("train")


def test_wrong_split_and_on_error(tmp_path: Path) -> None:
    data = Numbered(tmp_path)
    with pytest.raises(InputError, match="'dev': allowed are train, val, test"):
        data.split("dev")
    data.on_error = "ignore"
    with pytest.raises(InputError, match="allowed are raise, skip"):
        data.split("train")


def test_cache_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("PYROVAE_CACHE", "/chosen")
    assert cache_root("/given") == Path("/given") and cache_root() == Path("/chosen")
    monkeypatch.delenv("PYROVAE_CACHE")
    assert cache_root() == Path("/xdg/pyrovae")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path("/home/someone/.cache/pyrovae")


def test_progress_is_hidden_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Numbered(tmp_path)
    data.split("train")
    assert capsys.readouterr() == ("", "")
    source = Source(["0"], data.read, np.empty((1, 0)))
    cached_split(data, "val", source, cache_dir=tmp_path, progress=True)
    captured = capsys.readouterr()
    assert captured.out == "" and "Numbered val" in captured.err and "images" in captured.err


def start(folder: Path, pause: float) -> Script:
    process = Script(SLOW, str(folder), str(pause))
    while not process.printed().startswith("started\n"):
        assert process.runs, process.end().stderr
        time.sleep(0.01)
    return process


def wait_for(folder: Path, pattern: str) -> Path:
    for _ in range(600):
        for path in folder.glob(pattern):
            return path
        time.sleep(0.05)
    raise AssertionError(f"{pattern} did not appear")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_build_is_never_seen(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, 0.02)
    try:
        left = wait_for(tmp_path, "Numbered-*/.train-*/images.npy").parent
        assert not list(tmp_path.glob("Numbered-*/train"))
        process.signal(number)
        assert process.end(120).returncode  # What is under way, 32 images a process, ends first.
    finally:
        if process.runs:
            process.signal(signal.SIGKILL)
    assert left.exists() == (number == signal.SIGKILL)
    assert not list(tmp_path.glob("Numbered-*/train"))
    data = Numbered(tmp_path, count=2000)
    assert len(data.split("train")) == 2000 and data.reads == 2000
    assert entries(tmp_path) == {"train"}


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_forking_acts(number: signal.Signals) -> None:
    """A worker's start runs hooks in which Python drops what a signal raises."""
    due, seen = [number], list[int]()

    def hook() -> None:
        for _ in range(len(due)):
            os.kill(os.getpid(), due.pop())

    def act(number: int, frame: Any) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    os.register_at_fork(after_in_parent=hook)  # There is no way back, but `due` stays empty.
    before = signal.signal(number, act)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(map_in_order(abs, range(100), processes=True))
        assert seen == [number] and not due and signal.getsignal(number) is act
    finally:
        signal.signal(number, before)


ORPHAN = """
import os, signal, time
from pyrovae.data.workers import map_in_order
os.register_at_fork(
    after_in_child=lambda: time.sleep(0.3),  # The parent is gone before it is looked for.
    after_in_parent=lambda: os.kill(os.getpid(), signal.SIGKILL),
)
list(map_in_order(abs, range(100), processes=True))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_worker_does_not_outlive_a_parent_killed_while_it_starts() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", ORPHAN],
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        assert process.communicate(timeout=60) == (b"", None)  # An orphan would keep it open.
        assert process.returncode == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_two_builds_at_once(tmp_path: Path) -> None:
    processes = [start(tmp_path, 0.001) for _ in range(3)]
    outputs = [process.end().stdout for process in processes]
    assert outputs == ["started\n2000 5\n"] * 3 and entries(tmp_path) == {"train"}
    data = Numbered(tmp_path, count=2000)
    assert len(data.split("train")) == 2000 and data.reads == 0


def test_two_threads_at_once(tmp_path: Path) -> None:
    lengths: list[int] = []
    threads = [
        threading.Thread(target=lambda: lengths.append(len(Numbered(tmp_path).split("train"))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [100] * 4 and entries(tmp_path) == {"train"}


def test_a_build_in_progress_is_not_taken_for_abandoned(tmp_path: Path) -> None:
    Numbered(tmp_path).split("val")
    (folder,) = tmp_path.iterdir()
    host = socket.gethostname()
    alive = folder / f".train-{host}-{os.getppid()}-0a"
    elsewhere = folder / ".train-other-host-1-0b"
    forgotten = folder / ".train-other-host-1-0c"
    own = folder / f".train-{host}-{os.getpid()}-0d"  # of an earlier process with our number
    for path in (alive, elsewhere, forgotten, own):
        path.mkdir()
    os.utime(forgotten, (0, 0))
    Numbered(tmp_path).split("train")
    assert entries(tmp_path) == {"train", "val", alive.name, elsewhere.name}
