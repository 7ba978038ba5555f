"""The division of the images of a folder into splits."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath

from pyrovae.data.labels import read_texts
from pyrovae.data.tiff import page_of
from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn
from pyrovae.utils.text import counted, cut

__all__ = [
    "FOLDERS",
    "SPLIT_NAMES",
    "by_column",
    "check_groups",
    "divide_by_hash",
    "group_names",
    "warn_of_unused_column",
]

_EVALUATED = ("eval", "evaluation")
#: A folder or a text belongs to the first split that accepts its name.
FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev", *_EVALUATED),
    "test": ("test", "testing", *_EVALUATED),
}
SPLIT_NAMES = {name for names in FOLDERS.values() for name in names}


def group_names(
    names: Sequence[str], inner: Sequence[str], group_by: str | None, table: Path | None
) -> list[str]:
    """The name of the group of each image; without `group_by` each image is one.

    Args:
        names: the paths of the images relative to the root.
        inner: the same without the folder of their split, which groups do not depend on.
        group_by: "folder", "file" (of the pages of a stack), or a column of the table.
        table: a CSV file.

    Raises:
        InputError: if there is no table or no such column.
    """
    if group_by is None:
        return list(inner)
    if group_by == "folder":
        return [str(PurePosixPath(name).parent) for name in inner]
    if group_by == "file":
        return [page_of(name)[0].as_posix() for name in inner]
    path = _needed(table, f"--data.group_by {group_by}: allowed are folder, file, and a column")
    texts = read_texts(path, names, group_by)
    _warn_of_single(group_by, texts, names)
    return [text or name for text, name in zip(texts, inner, strict=True)]


def by_column(names: Sequence[str], column: str, table: Path | None) -> dict[str, list[str]]:
    """Images by the split that a column of a table names, with a warning of empty cells.

    Returns:
        Images by split; those without a split by "".

    Raises:
        InputError: if there is no such column, a cell is not the name of a split, or no image is
            in the training split.
    """
    path = _needed(table, f"--data.split_by {column}: allowed is a column")
    found: dict[str, list[str]] = defaultdict(list)
    for text, name in zip(read_texts(path, names, column), names, strict=True):
        split = next((own for own, accepted in FOLDERS.items() if text.lower() in accepted), "")
        if text and not split:
            raise InputError(
                f"{path}: column {cut(column)} has {cut(text)} for {cut(name)}; allowed are "
                "train, val and test, and empty cells for images of no split"
            )
        found[split].append(name)
    if left := found.get("", []):
        warn(
            f"{path}: {len(left):,} of {len(names):,} images are in no split (--data.split_by "
            f"{column}) and left out, such as {cut(left[0])}"
        )
    if "train" not in found:
        raise InputError(f"{path}: no image is in the split train (--data.split_by {column})")
    return dict(found)


def divide_by_hash(
    names: Sequence[str], groups: Sequence[str], shares: Mapping[str, float]
) -> dict[str, list[str]]:
    """Divides images into the training split and others; a group stays together.

    The hash of a group's name decides: the smallest values are the first of the other splits. A
    split that stays empty takes one group of the largest split: that with the value nearest to
    the values of the empty split.

    Args:
        names: the images.
        groups: the name of the group of each image.
        shares: the shares of the other splits, by name.
    """
    places = {group: _place(group) for group in groups}
    parts: dict[str, list[str]] = {name: [] for name in ("train", *reversed([*shares]))}
    ends = dict(zip(shares, accumulate(shares.values()), strict=True))
    for group, place in places.items():
        parts[next((name for name, end in ends.items() if place < end), "train")].append(group)
    wanted = {name: part for name, part in parts.items() if shares.get(name, 1) > 0}
    _fill_empty(wanted, places, [*shares, "train"])
    split_of = {group: split for split, part in parts.items() for group in part}
    return {
        split: [
            name for name, group in zip(names, groups, strict=True) if split_of[group] == split
        ]
        for split in parts
    }


def check_groups(
    root: Path,
    groups: Mapping[str, Iterable[str]],
    shares: Mapping[str, float],
    group_by: str,
) -> None:
    """Checks that groups can be divided, and warns of those with images in several given splits.

    Args:
        root: the folder, for messages.
        groups: the names of the groups of images, by given split.
        shares: the shares of the other splits, by name.
        group_by: the option, for messages.

    Raises:
        InputError: if there are fewer groups than splits.
    """
    splits = defaultdict(list)
    for split, own in groups.items():
        for group in sorted({*own}, key=str):
            splits[group].append(split)
    wanted = ["train", *(name for name, share in shares.items() if share > 0)]
    if (count := len({*groups["train"]})) < len(wanted):
        raise InputError(
            f"{root}: {counted(count, 'group')} (--data.group_by {group_by}) cannot be divided "
            f"into {', '.join(wanted)}; allowed are {len(wanted)} or more"
        )
    if shared := [group for group, own in splits.items() if len(own) > 1]:
        warn(
            f"{root}: images of {counted(len(shared), 'group')} (--data.group_by {group_by}) are "
            f"in several splits, such as those of {cut(shared[0])} "
            f"({', '.join(splits[shared[0]])}), so validation and test images resemble training "
            "images"
        )


def warn_of_unused_column(value_names: Mapping[str, Sequence[str]]) -> None:
    """Warns of an attribute whose values are names of splits."""
    for name, values in value_names.items():
        if len(values) > 1 and SPLIT_NAMES.issuperset(value.lower() for value in values):
            warn(
                f"the column {cut(name)} names splits and is used as an attribute only; "
                f"--data.split_by {name} divides the images by it"
            )


def _needed(table: Path | None, start: str) -> Path:
    if table is None:
        raise InputError(f"{start} of the table --data.attributes, and no table is given")
    return table


def _warn_of_single(column: str, texts: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name, text in zip(names, texts, strict=True) if not text]
    if missing:
        warn(
            f"--data.group_by {column}: {len(missing):,} of {len(names):,} images have no value; "
            f"each forms its own group, such as {cut(missing[0])}"
        )


def _fill_empty(
    parts: dict[str, list[str]], places: dict[str, float], order: Sequence[str]
) -> None:
    """Gives each empty split one group of the largest split, if that has two or more.

    It is the group whose hash value is nearest to the values of the empty split.

    Args:
        parts: groups by split.
        places: the hash values of groups.
        order: the splits by rising hash values.
    """
    for split in parts:
        largest = max(parts, key=lambda other: len(parts[other]))
        if parts[split] or len(parts[largest]) < 2:
            continue
        nearest = min if order.index(split) < order.index(largest) else max
        key = nearest(parts[largest], key=places.__getitem__)
        parts[largest].remove(key)
        parts[split].append(key)


def _place(name: str) -> float:
    """Hashes a name to a number from 0 to 1, independent of its Unicode normal form."""
    raw = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(raw).digest()[:6], "big") / 2**48
