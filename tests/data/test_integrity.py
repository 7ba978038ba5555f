"""Prepared images that changed after they were written."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyrovae.data import integrity, leftovers
from pyrovae.data.cache import checksum
from pyrovae.data.loader import Batches
from pyrovae.utils.errors import InputError
from tests.support.cached import Numbered, entries


def flip_byte(folder: Path) -> None:
    content = bytearray((folder / "images.npy").read_bytes())
    content[-1] ^= 1
    (folder / "images.npy").write_bytes(content)


def zero_images(folder: Path) -> None:
    images = np.load(folder / "images.npy")
    np.save(folder / "images.npy", np.zeros_like(images))


def lose_attributes(folder: Path) -> None:
    np.save(folder / "attributes.npy", np.full((100, 1), np.nan, np.float32))


def retype_attributes(folder: Path) -> None:
    values = np.load(folder / "attributes.npy")
    np.save(folder / "attributes.npy", values.view(np.int32))


def reshape_images(folder: Path) -> None:
    images = np.load(folder / "images.npy")
    np.save(folder / "images.npy", images.reshape(50, 2, 2, 3))


def break_header(folder: Path) -> None:
    content = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descx': " + content[20:])


def change_manifest(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))

    return change


def swap_names(folder: Path) -> None:
    names = json.loads((folder / "manifest.json").read_text())["names"]
    change_manifest(names=[names[1], names[0], *names[2:]])(folder)


def write_manifest(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "manifest.json").write_bytes(content) and None


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped byte": flip_byte,
    "zeroed": zero_images,
    "attributes": lose_attributes,
    "attributes' type": retype_attributes,
    "shape": reshape_images,
    "header": break_header,
    "swapped names": swap_names,
    "no sizes": change_manifest(bytes=None),
    "no names": change_manifest(names=None),
    "names of another type": change_manifest(names=7),
    "no checksums": change_manifest(checksums=None),
    "skipped of another type": change_manifest(skipped="all"),
    "NULs": write_manifest(b"\0" * 500),
    "nested": write_manifest(b"[" * 100_000),
    "not text": write_manifest(b"\xff\xfe{"),
}


def folder_of(root: Path) -> Path:
    (folder,) = root.glob("Numbered-*/train")
    return folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("restarted", [True, False])
def test_damage_is_noticed_and_mended_with_one_line(
    tmp_path: Path,
    damage: Callable[[Path], None],
    restarted: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Numbered(tmp_path).split("train")
    damage(folder_of(tmp_path))
    if restarted:
        monkeypatch.setattr(integrity, "_verified", {})
    data = Numbered(tmp_path)
    split = data.split("train")
    np.testing.assert_array_equal(split.images[:, 0, 1, 1], np.arange(100))
    np.testing.assert_array_equal(split.attributes[:, 0], np.arange(100))
    assert list(split.names) == [f"{i}.jpg" for i in range(100)] and data.reads == 100
    (record,) = caplog.records
    assert "damaged or of another version" in record.getMessage()
    assert str(folder_of(tmp_path)) in record.getMessage() and "\n" not in record.getMessage()


def test_damage_is_an_error_where_the_source_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Numbered(tmp_path).split("train")
    flip_byte(folder_of(tmp_path))
    data = Numbered(tmp_path)
    data.bad = (0,)
    with pytest.raises(InputError, match="/images/0.jpg"):
        data.split("train")
    assert "wrong checksum" in caplog.text


def test_changed_sources_are_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Numbered(tmp_path).split("train")
    data = Numbered(tmp_path)
    data.stamp = "second"
    data.split("train")
    assert data.reads == 100 and not caplog.records


def test_arrays_are_read_once_for_each_state_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(integrity, "checksum", lambda v: (read.append(1), checksum(v))[1])
    Numbered(tmp_path).split("train")
    monkeypatch.setattr(integrity, "_verified", {})
    Numbered(tmp_path).split("train")
    assert not read  # What was just written is noted as whole.
    folder = folder_of(tmp_path)
    (folder / "verified.json").write_text("damaged")
    for _ in range(3):
        monkeypatch.setattr(integrity, "_verified", {})
        Numbered(tmp_path).split("train")
        assert len(read) == 2  # Images and attributes, at the first of these starts.
    os.utime(folder / "images.npy", (1, 1))
    Numbered(tmp_path).split("train")
    assert len(read) == 4


def test_a_process_remembers_where_it_may_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Numbered(tmp_path).split("train")
    (folder_of(tmp_path) / "verified.json").unlink()
    monkeypatch.setattr(integrity, "_verified", {})

    def refuse(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    read: list[int] = []
    monkeypatch.setattr(integrity, "checksum", lambda v: (read.append(1), checksum(v))[1])
    for _ in range(3):
        Numbered(tmp_path).split("train")
    assert len(read) == 2


@pytest.mark.skipif(os.name != "posix", reason="cuts a mapped file")
@pytest.mark.parametrize("part", [slice(None), slice(10, 90)])
def test_an_array_cut_off_while_in_use_ends_with_a_line(tmp_path: Path, part: slice) -> None:
    images = Numbered(tmp_path, count=2000).split("train").images[part]
    batches = Batches(images, 20, seed=0)
    assert len(list(batches.epoch(0))) == len(images) // 20
    os.truncate(folder_of(tmp_path) / "images.npy", 50)
    with pytest.raises(InputError, match=r"images.npy: was cut off from .* to 50 bytes"):
        list(batches.epoch(1))


def test_a_full_disk_names_the_folder_and_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*--data\.cache_dir") as caught:
        Numbered(tmp_path).split("train")
    assert str(tmp_path) in str(caught.value) and entries(tmp_path) == set()


def test_leftovers_of_other_settings_are_swept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Numbered(tmp_path, version=1).split("train")
    (other,) = tmp_path.iterdir()
    left = other / f".val-{socket.gethostname()}-99999999-0a"
    left.mkdir()
    monkeypatch.setattr(leftovers, "_swept", set())
    Numbered(tmp_path).split("train")
    assert not left.exists() and (other / "train").exists()
