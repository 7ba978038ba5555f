"""Checks that prepared arrays have not changed since they were written.

Reading a whole array takes about a second per gigabyte, so it is done once per state of the
files: `verified.json` in their folder records the last state that was verified.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.rows import Rows
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing

FILES = ("images.npy", "attributes.npy", "manifest.json")
_NOTE = "verified.json"
_CHUNK_IMAGES = 32

_verified: dict[str, Any] = {}  # by folder, in case verified.json cannot be written


def checksum(values: np.ndarray) -> str:
    """SHA-256 of an array's values, as the manifest records it under `checksums`."""
    digest = hashlib.sha256()
    for start in range(0, len(values), _CHUNK_IMAGES):
        digest.update(np.ascontiguousarray(values[start : start + _CHUNK_IMAGES]).data)
    return digest.hexdigest()


def signed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns a manifest with a checksum of its own content."""
    return manifest | {"sha256": _digest(manifest)}


def damage(folder: Path, manifest: dict[str, Any]) -> str | None:
    """Describes the damage in a folder, in one line; None if there is none.

    Args:
        folder: the folder of one split in the cache.
        manifest: the content of its `manifest.json`.
    """
    stamps = _stamps(folder)
    if stamps is None:
        return "a file is missing"
    if stamps in (_verified.get(str(folder)), read_json(folder / _NOTE)):
        return None
    found = _damage(folder, manifest)
    if found is None:
        note_verified(folder, stamps)
    return found


def note_verified(folder: Path, stamps: dict[str, list[int]] | None = None) -> None:
    """Records that the files in a folder are intact in their current state."""
    stamps = stamps or _stamps(folder)
    _verified[str(folder)] = stamps
    # The cache may be read-only: `_verified` remembers for this process.
    with suppress(OSError), replacing(folder / _NOTE) as temporary:
        temporary.write_text(json.dumps(stamps))


def check_whole(images: Any) -> None:
    """Raises `InputError` if the file of a mapped array was truncated after it was opened.

    Reading a missing page would end the process with SIGBUS, which cannot be caught.
    """
    base = images.images if isinstance(images, Rows) else images
    while isinstance(base, np.ndarray):
        name, base = getattr(base, "filename", None) or "a mapped array", base.base
    if not isinstance(base, mmap.mmap):
        return
    if (left := base.size()) < len(base):
        raise InputError(
            f"{name}: was cut off from {len(base):,} to {left:,} bytes while it was in use; "
            "start again to prepare the images again"
        )


def _digest(manifest: dict[str, Any]) -> str:
    whole = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _stamps(folder: Path) -> dict[str, list[int]] | None:
    """Size, time and inode of each file."""
    try:
        found = {name: (folder / name).stat() for name in FILES}
    except OSError:
        return None
    return {name: [s.st_size, s.st_mtime_ns, s.st_ino] for name, s in found.items()}


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _damage(folder: Path, manifest: dict[str, Any]) -> str | None:
    if "sha256" not in manifest:
        return "manifest.json: no checksum (written by an older version)"
    if manifest["sha256"] != _digest(manifest):
        return "manifest.json: wrong checksum"
    try:
        shapes = _shapes(manifest)
        sums = {name: str(manifest["checksums"][name]) for name in shapes}
    except (KeyError, TypeError):
        return "manifest.json: entries are missing or of a wrong type"
    for name, (kind, shape) in shapes.items():
        try:
            values = np.load(folder / name, mmap_mode="r")
        except Exception as error:  # A damaged header raises many types of errors.
            return f"{name}: {' '.join(str(error).split())[:200]}"
        if values.dtype != kind or values.shape != shape:
            return f"{name}: wrong type or shape ({values.dtype} {values.shape})"
        if checksum(values) != sums[name]:
            return f"{name}: wrong checksum"
    return None


def _shapes(manifest: dict[str, Any]) -> dict[str, tuple[type, tuple[int, ...]]]:
    count = len(manifest["names"])
    return {
        "images.npy": (np.uint8, (count, *manifest["image_shape"])),
        "attributes.npy": (np.float32, (count, len(manifest["attribute_names"]))),
    }
