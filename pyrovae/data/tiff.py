"""Pages of TIFF stacks, and TIFF files with more channels or bits than Pillow reads."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pyrovae.utils.log import warn
from pyrovae.utils.optional import optional_package

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "deep_values",
    "full_values",
    "has_pages",
    "is_tiff",
    "page_image",
    "page_names",
    "values_named",
]

_NAMED = re.compile(r"(.+)\[([0-9]+)\]")
_TAGS = {254: "kind", 256: "width", 257: "height", 258: "bits", 277: "samples"}
_REDUCED = 1  # the kind of a smaller copy of another page


@dataclass(frozen=True)
class _Page:
    """A page of a TIFF file, from its directory."""

    number: int
    kind: int = 0
    width: int = 0
    height: int = 0
    bits: int = 1
    samples: int = 1


def is_tiff(path: str | Path) -> bool:
    """Whether a path has the extension of a TIFF file."""
    return Path(path).suffix.lower() in (".tif", ".tiff")


def page_names(root: Path, names: Iterable[str], channels: int) -> Iterator[str]:
    """Yields one name per image: `stack.tif[0]`, ... for the pages of a TIFF stack.

    A stack of as many pages as the images have channels is one image, unless that is 1 or 3.

    Args:
        root: the folder that the names are relative to.
        names: the names of files.
        channels: the number of channels of the images.
    """
    for name in names:
        pages = _pages(root / name) if is_tiff(name) else []
        if len(pages) < 2 or _is_one_image(pages, channels):
            yield name
        else:
            yield from (f"{name}[{page.number}]" for page in pages)


def page_of(path: str | Path) -> tuple[Path, int | None]:
    """Returns the file and the page that a name names; None for a whole file.

    Example:
        >>> page_of("cells.tif[3]")[1], page_of("cells.tif")[1]
        (3, None)
    """
    named = _NAMED.fullmatch(str(path))
    if named is None or not is_tiff(named[1]) or Path(path).exists():
        return Path(path), None
    return Path(named[1]), int(named[2])


def full_values(path: Path, page: int | None, channels: int) -> np.ndarray | None:
    """The values `(C, H, W)` of an image; None if Pillow reads them in full.

    Args:
        path: a TIFF file.
        page: the page; None for a whole file.
        channels: the number of channels of the images.

    Raises:
        ValueError: if the pages have several sizes, or tifffile is needed and missing.
    """
    pages = _pages(path)
    own = next((own for own in pages if own.number == (page or own.number)), None)
    if own is None:
        return None
    stack = page is None and _is_one_image(pages, channels)
    if page is not None or stack:
        _check_sizes(pages)
    if stack:
        return np.stack([deep_values(path, page.number)[0] for page in pages])
    deep = own.samples > 4 or (own.samples > 1 and own.bits > 8)
    return deep_values(path, own.number) if deep else None


def _is_one_image(pages: list[_Page], channels: int) -> bool:
    grey = all(page.samples == 1 for page in pages)
    return grey and len(pages) == channels and channels not in (1, 3)


def has_pages(path: Path) -> bool:
    """Whether a file has the directories of a TIFF file."""
    return bool(_pages(path))


def values_named(path: Path) -> int:
    """The number of values of all pages that the directories of a file name; reads no pixel."""
    return sum(page.width * page.height * page.samples for page in _pages(path))


def _check_sizes(pages: list[_Page]) -> None:
    first = pages[0]
    for page in pages:
        if (page.width, page.height) != (first.width, first.height):
            raise ValueError(
                f"page {page.number} has {page.height}x{page.width} pixels (height x width) and "
                f"page {first.number} {first.height}x{first.width}; allowed are pages of one size"
            )


def deep_values(path: Path, page: int | None) -> np.ndarray:
    """The values `(C, H, W)` of one page, read by tifffile.

    Raises:
        InputError: if tifffile is not installed.
    """
    tifffile = optional_package("tifffile", "tiff")
    with tifffile.TiffFile(path) as file:
        own = file.pages[page or 0]
        values = own.asarray()
        if own.axes.endswith("S"):  # Samples of a pixel are stored together.
            values = np.moveaxis(values, -1, 0)
    return values if values.ndim == 3 else values[None]


def page_image(path: Path, page: int) -> Image:
    """A copy of one page of a TIFF file."""
    status = path.stat()
    worker = os.getpid(), threading.get_ident()  # Each reads at its own position.
    opened = _opened(path, status.st_mtime_ns, worker)
    opened.seek(page)
    return opened.copy()


@lru_cache(maxsize=16)
def _opened(path: Path, changed: int, worker: tuple[int, int]) -> Image:
    """A file that stays open for its next page: finding a page takes longer the later it is."""
    from PIL import Image

    file = open(path, "rb")
    try:
        image = Image.open(file)
    except Exception:
        file.close()
        raise
    weakref.finalize(image, file.close)
    return image


@lru_cache(maxsize=16)
def _pages_of(path: Path, stamp: tuple[int, int]) -> list[_Page]:
    """The pages of a file, without smaller copies of others; none if it is damaged."""
    found: list[_Page] = []
    try:
        with open(path, "rb") as file:
            found.extend(_directories(file))
    except (OSError, ValueError, KeyError, IndexError, OverflowError):
        if found:  # Without a page, reading the image names the reason.
            _warn_of_damage(path, len(found) - 1)
    return [page for page in found if not page.kind & _REDUCED]


@cache  # Once per file, however often its pages are looked up.
def _warn_of_damage(path: Path, last: int) -> None:
    warn(f"{path}: damaged after page {last}; later pages are not used")


def _pages(path: Path) -> list[_Page]:
    try:
        status = path.stat()
    except OSError:
        return []
    return _pages_of(path, (status.st_size, status.st_mtime_ns))


def _directories(file: BinaryIO) -> Iterator[_Page]:
    """Reads the chain of directories, which is much faster than Pillow's search for a page."""
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}[start[:2]]
    big = _first(start[2:], np.dtype(f"{order}u2")) == 43
    pointer = np.dtype(f"{order}u{8 if big else 4}")
    number = np.dtype(f"{order}u{8 if big else 2}")
    short = f"{order}u2"
    entry = np.dtype(
        [("tag", short), ("type", short), ("count", pointer), ("value", f"V{pointer.itemsize}")]
    )
    place, seen = _first(start[8 if big else 4 :], pointer), set[int]()
    while place and place not in seen:
        seen.add(place)
        file.seek(place)
        count = _first(file.read(number.itemsize), number)
        if count > 2**16:
            raise ValueError(f"a directory of {count} entries")
        entries = np.frombuffer(file.read(count * entry.itemsize), entry, count)
        place = _first(file.read(pointer.itemsize), pointer)
        known = [own for own in entries if int(own["tag"]) in _TAGS]
        values = {_TAGS[int(own["tag"])]: _number(own, order, pointer, file) for own in known}
        yield _Page(len(seen) - 1, **values)


def _first(raw: bytes, kind: np.dtype[Any]) -> int:
    return int(np.frombuffer(raw, kind, 1)[0])


def _number(entry: Any, order: str, pointer: np.dtype[Any], file: BinaryIO) -> int:
    """The first value of an entry of 16 or 32 bits."""
    kind = np.dtype(f"{order}u2" if entry["type"] == 3 else f"{order}u4")
    raw = entry["value"].tobytes()
    if int(entry["count"]) * kind.itemsize > len(raw):
        file.seek(_first(raw, pointer))
        raw = file.read(kind.itemsize)
    return _first(raw, kind)
