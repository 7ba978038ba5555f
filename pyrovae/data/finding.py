"""The image files in a folder, and those beside them that cannot be used."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyrovae.data.images import image_extensions

__all__ = ["Found", "find_images", "in_short"]

#: Extensions of images that Pillow cannot read, or only with a plugin.
_OTHER = frozenset(
    ".3fr .arw .avif .cr2 .cr3 .dng .exr .hdr .heic .heif .jxl .nef .orf .pef .raf .raw .rw2 "
    ".sr2 .srw .svg .x3f".split()
)
#: How the content of image files begins.
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cJXL ")
#: What follows four bytes of length, or of length and `RIFF`.
_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif", b"ftypcrx ")


@dataclass
class Found:
    """What `find_images` finds.

    Attributes:
        images: paths below the root, in order of their names.
        unused: how many image files cannot be used, by their kind.
    """

    images: list[str] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)


def find_images(root: Path, folder: str) -> Found:
    """Finds images by their extension in one of the root's folders, at any depth.

    Names that start with a dot are passed over. Pipes and devices are counted as unused: to
    read them could take for ever.

    Args:
        root: the folder that paths start from.
        folder: the folder in it; "" for all of the root.
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


def in_short(names: Sequence[str], limit: int = 6) -> str:
    """Names in a line; of many, the first."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _files(root: Path, folder: str) -> Iterator[Path]:
    seen: set[str] = set()
    for path, folders, files in os.walk(root / folder, followlinks=True):
        seen.add(os.path.realpath(path))
        # A link to a folder that is being walked would lead round for ever.
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(path, name)) not in seen
        ]
        below = Path(path).relative_to(root)
        yield from (below / name for name in files if not name.startswith("."))


def _is_special(path: Path) -> bool:
    """Whether a path is no plain file; one that is not there is an error for whoever reads it."""
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
