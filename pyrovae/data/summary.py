"""What a data set found and did to prepare its images, in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyrovae.data.base import ImageData, Split
from pyrovae.data.finding import in_short
from pyrovae.data.images import ORIENTATION, bits_of, colours_of, is_deep_negative
from pyrovae.data.rows import spread_rows
from pyrovae.data.tiff import page_of
from pyrovae.utils.log import warn
from pyrovae.utils.text import counted, of_groups

__all__ = ["conversion", "summary"]

#: Files whose size is read: the others probably have the same.
PROBED = 50
#: The number of attributes with unknown values that are named.
NAMED = 3
#: The longest side for which a message proposes to keep the size of the files.
KEPT = 256
#: Numbers that often mean "unknown" in tables.
CODES = (-99, -999, -9999, 999, 9999)
#: A difference of the proportions that is reported.
CUT = 0.02
#: The values of the EXIF orientation that swap width and height.
_SIDEWAYS = (5, 6, 7, 8)


def summary(data: ImageData, train: Split, val: Split) -> str:
    """One line about a data set: files, preparation, splits, attributes, random changes.

    Args:
        data: the data set.
        train: its training split.
        val: its validation split.
    """
    changes = ["flip"] * data.flip + [type(own).__name__ for own in data.augment]
    lines = [
        data.about() or _marked(f"{type(data).__name__}, {_kind(*data.image_shape)}"),
        f"{_trained(data, train)}, {_number(val)} for validation",
    ]
    lines += _left_out(data)
    found = data.found()
    if found.get("white") is not None:
        lines.append(f"black is {found['black']:g} and white is {found['white']:g} (auto)")
    lines += _attributes(train)
    if changes:
        lines.append(f"training images are changed at random by {', '.join(changes)}")
    return f"data: {'; '.join(lines)}"


def conversion(paths: Sequence[Path], data: ImageData) -> str:
    """What preparation did to files, from the sizes of some, and how to keep their size.

    Such as `1,965 files, 28x20 (height x width) grey -> 64x64 RGB (use --data.image_size 28 20
    --data.channels 1 to keep them)`.
    """
    channels, height, width = data.image_shape
    files = list(dict.fromkeys(page_of(path)[0] for path in paths))
    count = f"{len(files):,} files"
    if len(files) < len(paths):
        count += f" with {len(paths):,} pages"
    probed = {files[row]: _probe(files[row]) for row in spread_rows(len(files), PROBED)}
    headers = {file: own for file, own in probed.items() if own is not None}
    _warn_of_values(headers)
    known = sorted({own.shape for own in headers.values()}, key=lambda own: own[1] * own[2])
    after = _kind(channels, height, width)
    if not known:
        return _marked(f"{count} -> {after}")
    kinds = {_kind(*own).split()[1] for own in known}
    sizes = list(dict.fromkeys(_kind(*own).split()[0] for own in (known[0], known[-1])))
    before = f"{' to '.join(sizes)} {' and '.join(sorted(kinds))}"
    if data.crop is not None:
        before += f", cropped to {data.crop}x{data.crop}"
    elif any(abs(w * height - h * width) > CUT * h * width for _, h, w in known):
        before += ", with black borders" if data.pad else ", cropped to the centre"
    told = _marked(f"{count}, {before}" + ("" if before == after else f" -> {after}"))
    hint = _hint(known, data.image_shape) if data.crop is None else ""
    return f"{told} (use {hint} to keep them)" if hint else told


def _hint(known: Sequence[tuple[int, int, int]], shape: tuple[int, int, int]) -> str:
    """The options that keep files as they are, for small files of one size, and for grey ones."""
    hints, (height, width) = [], known[0][1:]
    one = all(own[1:] == (height, width) for own in known) and max(height, width) <= KEPT
    if one and (height, width) != shape[1:]:
        hints.append(f"--data.image_size {height if height == width else f'{height} {width}'}")
    if shape[0] == 3 and {own[0] for own in known} == {1}:
        hints.append("--data.channels 1")
    return " ".join(hints)


class _Header(NamedTuple):
    """What the header of an image file says: `(C, H, W)`, the values, and whether 0 is white."""

    shape: tuple[int, int, int]
    bits: str
    negative: bool


def _warn_of_values(headers: Mapping[Path, _Header]) -> None:
    """Warns of values of several kinds, and of negatives that stay as they are."""
    negatives = [file for file, own in headers.items() if own.negative]
    if negatives:
        warn(
            "TIFF files of more than 8 bits store negatives (0 is white), such as "
            f"{negatives[0].name}; they are used as they are stored, not inverted"
        )
    examples = {own.bits: file for file, own in headers.items()}
    if len(examples) > 1:
        kinds = (f"{bits} such as {file.name}" for bits, file in sorted(examples.items()))
        warn(
            f"the files hold values of several kinds: {', '.join(kinds)}; by default each kind "
            "has its own range (to 255, 65535, and 1 for floats); --data.black and --data.white "
            "set one range for all files"
        )


def _probe(path: Path) -> _Header | None:
    """The header of an image file; None if it cannot be read."""
    from PIL import Image

    with suppress(Exception), Image.open(path) as image:  # A damaged file raises anything.
        width, height = image.size
        if image.getexif().get(ORIENTATION) in _SIDEWAYS:
            width, height = height, width
        shape = colours_of(image), height, width
        return _Header(shape, bits_of(image), is_deep_negative(image))
    return None


def _kind(channels: int, height: int, width: int) -> str:
    """The size and the colours of images, such as `64x64 RGB`."""
    words = {1: "grey", 3: "RGB"}.get(channels, f"of {channels} channels")
    return f"{height}x{width} {words}"


def _marked(line: str) -> str:
    """A line in which the first size that is not square says which side comes first.

    Example:
        >>> _marked("64x64 RGB -> 28x20 grey")
        '64x64 RGB -> 28x20 (height x width) grey'
    """
    return re.sub(r"\b(\d+)x(?!\1\b)\d+", r"\g<0> (height x width)", line, count=1)


def _trained(data: ImageData, train: Split) -> str:
    """The number of training images, and of how many a limit has drawn them."""
    if data.drawn_from is None:
        return f"{_number(train)} for training"
    if len(train) != data.limit:  # Some of those that were drawn are left out.
        drawn = f"of {data.limit:,} drawn from {data.drawn_from:,} (--data.limit)"
        return f"{_number(train)} for training {drawn}"
    return f"{len(train):,} of {data.drawn_from:,} for training (--data.limit)"


def _number(split: Split) -> str:
    """The number of images of a split, and of groups if it has any."""
    return f"{len(split):,}{of_groups(split.groups)}"


def _left_out(data: ImageData) -> list[str]:
    """How many images of the splits for training are left out; nothing for none."""
    counts = [
        f"{count:,} for {what}"
        for split, what in (("train", "training"), ("val", "validation"))
        if (count := data.left_out.get(split, 0))
    ]
    names = in_short(data.known)
    told = f"images left out because of unknown {names} (--data.known): {', '.join(counts)}"
    return [told] if counts else []


def _warn_of_codes(split: Split) -> None:
    """Warns of numbers such as -999 that may mean "unknown", far from all others."""
    for name, column in zip(split.attribute_names, split.attributes.T, strict=True):
        known = column[~np.isnan(column)]
        coded = np.isin(known, CODES)
        others = known[~coded]
        if not coded.any() or len(others) < 2:
            continue
        low, high = others.min(), others.max()
        if np.maximum(low - known[coded], known[coded] - high).min() > high - low:
            codes = " or ".join(f"{code:g}" for code in np.unique(known[coded]))
            warn(
                f"attribute {name}: the value of {counted(int(coded.sum()), 'image')} is {codes}, "
                f"and the others are {low:g} to {high:g}; if it means unknown, leave it empty "
                "(NaN in Python)"
            )


def _attributes(split: Split) -> list[str]:
    """The attributes of a split, and of how many images they are not known; none without any."""
    names = split.attribute_names
    if not len(names):
        return []
    _warn_of_codes(split)
    found = [f"attributes: {in_short([_named(split, own) for own in names])}"]
    shares = np.isnan(split.attributes).mean(0)
    unknown = [
        f"{names[place]} for {f'{shares[place]:.0%}' if shares[place] >= 0.01 else 'less than 1%'}"
        for place in np.argsort(-shares, kind="stable")
        if shares[place]
    ]
    return [*found, f"unknown: {in_short(unknown, NAMED)}"] if unknown else found


def _named(split: Split, attribute: str) -> str:
    """An attribute, with the names of its values if it is a class."""
    values = split.value_names.get(attribute)
    if not values:
        return attribute
    return f"{attribute} ({len(values)} class{'es' * (len(values) > 1)}: {in_short(values)})"
