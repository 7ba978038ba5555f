"""The cache of prepared images: one memory-mapped array per split, built once.

The folder of a split is `<cache>/<data set>-<hash of its settings>/<split>/`. It holds
`images.npy`, `attributes.npy`, and `manifest.json`, which describes their source. A folder is
written under a temporary name and then renamed, so a folder with the final name is complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal
from weakref import WeakKeyDictionary

import numpy as np

from pyrovae.data.base import ImageData, Source, Split, check_choice, check_split
from pyrovae.data.grey_levels import GreyLevels, warn_of_few
from pyrovae.data.images import without_pillow_warnings
from pyrovae.data.integrity import checksum, damage, note_verified, read_json, signed
from pyrovae.data.leftovers import live, remove_abandoned, sweep, temporary_name
from pyrovae.data.workers import look_ahead, map_in_order, shared_array
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import cache_root
from pyrovae.utils.log import warn
from pyrovae.utils.progress import hides_bar

__all__ = ["cached_split"]

_VERSION = 3  # raised whenever the same settings give other pixels
_HEADER = 128  # bytes before the pixels in images.npy, whatever the number of images
_CHUNK_BYTES = 2**22
_CHUNK_IMAGES = 32  # few, so that at the end no core waits long for another

# Errors that mean a wrong choice of folder, not a fault of the machine.
_MISPLACED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)

_HINT = "--data.cache_dir or PYROVAE_CACHE chooses another folder"

# Errors of a full disk or quota.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

# The splits whose warnings were given, by data set.
_told: WeakKeyDictionary[ImageData, set[str]] = WeakKeyDictionary()


def cached_split(
    data: ImageData,
    split: str,
    source: Source,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    cache_dir: str | Path | None = None,
    progress: bool | None = None,
) -> Split:
    """Returns one split from the cache; builds it first if it is missing or outdated.

    Args:
        data: the data set; its class, `settings()` and `image_shape` are the cache's key.
        split: `"train"`, `"val"` or `"test"`.
        source: the items; a stored array is outdated if their `fingerprint` differs.
        on_error: "raise" raises an error for an unreadable item; "skip" leaves it out with a
            warning.
        cache_dir: see `cache_root`.
        progress: whether to show a progress bar; by default on a terminal and in a notebook.

    Raises:
        InputError: for the first item that cannot be read, or if none can.
        OSError: if the disk is full.
    """
    check_split(split)
    check_choice("on_error", on_error, ("raise", "skip"))
    sweep(cache_root(cache_dir))
    build = _Build(data, split, source, on_error, progress, _folder(data, split, cache_dir))
    for _ in range(3):  # another process may replace the folder between building and opening it
        manifest, damaged = build.current()
        if manifest is not None and (opened := _open(build.folder, manifest)) is not None:
            _warn(data, split, manifest)
            return opened
        if damaged:
            warn(
                f"{build.folder}: damaged or of another version ({damaged}); the images are "
                "prepared again"
            )
        build.run()
    raise RuntimeError(f"{build.folder}: other processes keep replacing it")


def _folder(data: ImageData, split: str, cache_dir: str | Path | None) -> Path:
    kind = type(data)
    key = [_VERSION, kind.__module__, kind.__qualname__, data.image_shape, _settings(data, split)]
    text = json.dumps(key, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cache_root(cache_dir) / f"{kind.__name__}-{digest}" / split


def _settings(data: ImageData, split: str) -> dict[str, Any]:
    """The values that determine the stored pixels of a split: each limit has its own folder."""
    limited = split == "train" and data.limit is not None
    return data.settings() | ({"limit": data.limit} if limited else {})


def _open(folder: Path, manifest: dict[str, Any]) -> Split | None:
    """The split in a folder, or None if the folder was replaced while it was being opened."""
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        attributes = np.load(folder / "attributes.npy")
        if _manifest(folder) != manifest:
            return None
    except (OSError, ValueError):
        return None
    return Split(images, manifest["names"], attributes, tuple(manifest["attribute_names"]))


def _manifest(folder: Path) -> dict[str, Any] | None:
    manifest = read_json(folder / "manifest.json")
    return manifest if isinstance(manifest, dict) else None


def _warn(data: ImageData, split: str, manifest: dict[str, Any]) -> None:
    """Warns of images that are left out, and of few grey values; once per data set."""
    skipped = manifest["skipped"]
    told = _told.setdefault(data, set())
    if split in told:
        return
    told.add(split)
    if skipped:
        warn(
            f"{type(data).__name__}, split {split}: {len(skipped)} of {manifest['items']} images "
            f"are left out because they cannot be read; the first: {skipped[0]['reason']}"
        )
    if split == "train":
        warn_of_few(data, manifest["grey_levels"])


@dataclass
class _Chunk:
    """Consecutive items after reading: the readable ones, and the errors of the others."""

    kept: list[int] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class _Build:
    """Builds the cache folder of one split from its source."""

    data: ImageData
    split: str
    source: Source
    on_error: str
    progress: bool | None
    folder: Path
    levels: GreyLevels = field(default_factory=GreyLevels)

    def expected(self) -> dict[str, Any]:
        """The manifest entries that a folder for this source must have."""
        return {
            "version": _VERSION,
            "data": type(self.data).__name__,
            "split": self.split,
            "settings": json.loads(json.dumps(_settings(self.data, self.split), default=str)),
            "image_shape": list(self.data.image_shape),
            "items": len(self.source.names),
            "fingerprint": self.source.fingerprint,
            "attribute_names": list(self.source.attribute_names),
        }

    def current(self) -> tuple[dict[str, Any] | None, str | None]:
        """The manifest of the folder if it can be used, and the damage of one of this source."""
        manifest = _manifest(self.folder)
        if manifest is None:
            return None, "manifest.json: missing or damaged" if self.folder.exists() else None
        if not self.expected().items() <= manifest.items():
            return None, None
        # With on_error "raise", an array that left items out cannot be used.
        tolerated = self.on_error == "skip" or not manifest.get("skipped")
        damaged = damage(self.folder, manifest)
        return manifest if tolerated and damaged is None else None, damaged

    def run(self) -> None:
        """Builds the folder; replaces an outdated one."""
        try:
            self._run()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            text = f"{error.strerror}; {_HINT}"
            raise OSError(error.errno, text, str(self.folder.parent)) from error

    def _run(self) -> None:
        with self._temporary() as temporary:
            kept, skipped, digest = self._write_images(temporary / "images.npy")
            attributes = np.asarray(self.source.attributes, np.float32)[kept]
            with _synced(temporary / "attributes.npy") as file:
                np.save(file, attributes)
            names = [str(name) for name in self.source.names]
            manifest = self.expected() | {
                "count": len(kept),
                "bytes": {path.name: path.stat().st_size for path in temporary.iterdir()},
                "checksums": {"images.npy": digest, "attributes.npy": checksum(attributes)},
                "grey_levels": self.levels.few(),
                "skipped": [{"name": names[i], "reason": reason} for i, reason in skipped],
                "names": [names[i] for i in kept],
            }
            with _synced(temporary / "manifest.json") as file:
                file.write(json.dumps(signed(manifest)).encode())
            note_verified(temporary)
            self._install(temporary)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Yields a temporary folder; deletes it afterwards unless it was renamed into place."""
        path = self._beside()
        live.add(path.name)
        try:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                remove_abandoned(path.parent, self.split)
                path.mkdir()
            except OSError as error:
                if error.errno not in _MISPLACED:
                    raise
                raise InputError(f"{path.parent}: {error.strerror}; {_HINT}") from error
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            live.discard(path.name)

    def _beside(self) -> Path:
        return self.folder.parent / temporary_name(self.split)

    def _write_images(self, path: Path) -> tuple[list[int], list[tuple[int, str]], str]:
        """Writes the readable images; returns their indices, the failures, and the checksum."""
        from tqdm import tqdm

        kept: list[int] = []
        skipped: list[tuple[int, str]] = []
        digest = hashlib.sha256()
        hidden = hides_bar() if self.progress is None else not self.progress
        title = f"{type(self.data).__name__} {self.split}"
        bar = tqdm(desc=title, total=len(self.source.names), unit=" images", disable=hidden)
        # Written, not mapped: on a full disk a write raises an error, but a store to a map kills
        # the process. No page of the array stays in memory either.
        with _synced(path) as file, bar, closing(self._chunks()) as chunks:
            file.write(_header(0, self.data.image_shape))
            for images, chunk in chunks:
                file.write(images.data)
                digest.update(images.data)
                self.levels.add(images)
                kept += chunk.kept
                skipped += chunk.skipped
                bar.update(len(chunk.kept) + len(chunk.skipped))
            self._check(kept, skipped)
            file.seek(0)
            file.write(_header(len(kept), self.data.image_shape))
        return kept, skipped, digest.hexdigest()

    def _check(self, kept: list[int], skipped: list[tuple[int, str]]) -> None:
        if not kept:
            what = f"{type(self.data).__name__}, split {self.split}"
            first = f", the first: {skipped[0][1]}" if skipped else ""
            raise InputError(f"{what}: none of the {len(skipped)} images can be read{first}")

    def _chunks(self) -> Generator[tuple[np.ndarray, _Chunk], None, None]:
        """Yields all images in order, read on all cores a few chunks ahead of the consumer.

        An array is overwritten when the next one is requested.
        """
        shape = self.data.image_shape
        step = min(_CHUNK_IMAGES, max(1, _CHUNK_BYTES // int(np.prod(shape))))
        starts = range(0, len(self.source.names), step)
        # The workers write pixels to shared memory: a pipe would add a tenth to the time of
        # decoding.
        slots = shared_array((min(look_ahead(), len(starts)) or 1, step, *shape))
        chunks = map_in_order(partial(self._read, slots), starts, processes=len(starts) > 16)
        with without_pillow_warnings, closing(chunks):
            for start, chunk in zip(starts, chunks, strict=True):
                yield _slot(slots, start)[: len(chunk.kept)], chunk

    def _read(self, slots: np.ndarray, start: int) -> _Chunk:
        """Reads consecutive items; writes their pixels to the slot of the first item."""
        images, shape, chunk = _slot(slots, start), tuple(self.data.image_shape), _Chunk()
        for item in range(start, min(start + len(images), len(self.source.names))):
            try:
                image = self.source.read(item)
            except InputError as error:
                if self.on_error == "raise":
                    raise InputError(f"{error}{self.source.hint}") from error
                chunk.skipped.append((item, str(error)))
                continue
            if image.shape != shape or image.dtype != np.uint8:
                raise ValueError(
                    f"read({item}) must return uint8 {shape}, got {image.dtype} {image.shape}"
                )
            images[len(chunk.kept)] = image
            chunk.kept.append(item)
        return chunk

    def _install(self, temporary: Path) -> None:
        """Renames a finished folder into place, unless another process did so first."""
        _sync_folder(temporary)
        while True:
            try:
                os.rename(temporary, self.folder)
                return _sync_folder(self.folder.parent)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            if self.current()[0] is not None:
                return None
            self._discard()

    def _discard(self) -> None:
        """Removes an outdated folder; a process that has mapped its files keeps their pages."""
        aside = self._beside()
        try:
            os.rename(self.folder, aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    """A new file, which is on the disk when the context ends."""
    with open(path, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _slot(slots: np.ndarray, start: int) -> np.ndarray:
    """The slot of the chunk that starts at an item; chunks in progress never share a slot."""
    count, step = slots.shape[:2]
    return slots[start // step % count]


def _header(count: int, image_shape: tuple[int, int, int]) -> bytes:
    """The header of a .npy file, of fixed length, so that the count can be written at the end."""
    shape = (count, *image_shape)
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    start = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
    return start + text.ljust(_HEADER - 11).encode("ascii") + b"\n"


def _sync_folder(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
