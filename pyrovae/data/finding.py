"""Finds the image files in a folder, and counts those that cannot be used."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyrovae.data.images import image_extensions
from pyrovae.utils.errors import InputError

__all__ = ["Found", "absent", "find_images", "in_short", "with_folders"]

#: Extensions of images that Pillow cannot read, or only with a plugin.
_OTHER = frozenset(
    ".3fr .arw .avif .cr2 .cr3 .dng .exr .hdr .heic .heif .jxl .nef .orf .pef .raf .raw .rw2 "
    ".sr2 .srw .svg .x3f".split()
)
#: The first bytes of image files.
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cJXL ")
#: Bytes 5 to 12 of image files that begin with a length.
_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif", b"ftypcrx ")


@dataclass
class Found:
    """The result of `find_images`.

    Attributes:
        images: paths relative to the root, sorted.
        unused: the number of image files that cannot be used, by kind.
    """

    images: list[str] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)


def absent(path: Path, kind: str) -> str:
    """Why a path of the data cannot be used: a relative one depends on the current directory.

    Args:
        path: the path that does not exist.
        kind: "file" or "folder".
    """
    return f"{path}: no such {kind}" + ("" if path.is_absolute() else f" in {Path.cwd()}")


def find_images(root: Path, folder: str) -> Found:
    """Finds images by extension in a folder below the root, at any depth.

    Names that start with a dot are ignored. Pipes and devices are counted as unused: reading
    them might never end.

    Args:
        root: the folder that paths are relative to.
        folder: the folder to search, relative to the root; "" for the whole root.
    """
    found, extensions = Found(), image_extensions()
    for path in _files(root, folder):
        suffix = path.suffix.lower()
        if _is_special(root / path):
            found.unused["pipe or device"] += 1
        elif suffix in extensions:
            found.images.append(path.as_posix())
        elif suffix in _OTHER or _is_image(root / path):
            found.unused[suffix or "no extension"] += 1
    found.images.sort()
    return found


def with_folders(names: Sequence[str]) -> list[str]:
    """Names of images, each once, with the images at any depth in place of each folder.

    Raises:
        InputError: if a folder has no images.
    """
    found: list[str] = []
    for name in names:
        inside = find_images(Path(name), "").images if Path(name).is_dir() else None
        if inside == []:
            raise InputError(f"{name}: no images in this folder or its subfolders")
        found += [name] if inside is None else [str(Path(name) / own) for own in inside]
    return list(dict.fromkeys(found))


def in_short(names: Sequence[str], limit: int = 6) -> str:
    """Returns names as one line; of many, the first and the number of the others."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _files(root: Path, folder: str) -> Iterator[Path]:
    seen: set[str] = set()
    for path, folders, files in os.walk(root / folder, followlinks=True):
        seen.add(os.path.realpath(path))
        # A link to a folder that is being walked would never end.
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(path, name)) not in seen
        ]
        below = Path(path).relative_to(root)
        yield from (below / name for name in files if not name.startswith("."))


def _is_special(path: Path) -> bool:
    """Whether a path exists and is not a regular file; reading a missing one raises an error."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _is_image(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError:
        return False
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(_STARTS) or start[4:12] in _BRANDS or webp
