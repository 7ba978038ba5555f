"""Single images: those of the data set by name, and uploaded ones, with their posteriors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from pyrovae.commands.explorer.uploading import read_upload
from pyrovae.data import SPLITS, ImageData, Split
from pyrovae.inspection.subject import Subject, check_name
from pyrovae.posterior.encoding import BY_DIMENSION, Encoding
from pyrovae.posterior.passes import each_batch
from pyrovae.utils.errors import InputError

__all__ = ["Images", "Seen"]

#: Uploads, and other images, that are kept.
UPLOADS, KEPT = 20, 50


@dataclass(frozen=True)
class Seen:
    """One image with its posterior.

    Attributes:
        name: such as `test:12` or `upload:3`.
        file: its name in the data set.
        split: the image, as a split of one.
        known: the same, with a value for each unknown attribute that the programs take.
        given: the attributes that the programs take, by name.
        unknown: the names of those that are not known of the image.
        x: the observation, `(1, C, H, W)`.
        inputs: further inputs of the programs for it.
        encoded: its posterior.
        row: its index among the encoded images; None if it is another image.
        relative: the index of an encoded image of its group, which is itself if it is encoded;
            None if there is none.
    """

    name: str
    file: str
    split: Split
    known: Split
    given: dict[str, float]
    unknown: list[str]
    x: Tensor
    inputs: dict[str, Tensor]
    encoded: Encoding
    row: int | None
    relative: int | None

    @property
    def z(self) -> Tensor:
        """The posterior mean, `(1, D)`."""
        return torch.from_numpy(self.encoded.loc).to(self.x)


class Images:
    """The images that can be asked for by name, each with its posterior.

    Args:
        subject: the programs, and the images that are encoded.
        data: the data set.
        names: the names of the encoded images, such as `test:12`.
        usual: the values of attributes that the programs take, where they are not known.
    """

    def __init__(
        self, subject: Subject, data: ImageData, names: Sequence[str], usual: dict[str, float]
    ) -> None:
        self.subject, self.data, self.usual = subject, data, usual
        self._rows = {name: row for row, name in enumerate(names)}
        self._uploads: dict[str, Split] = {}
        self._uploaded = 0
        self._seen: dict[tuple[str, tuple[float, ...]], Seen] = {}

    def add(self, image: bytes) -> Seen:
        """Reads an uploaded image and encodes it; the oldest of more than 20 is forgotten.

        Raises:
            InputError: if it is not an image, or too large.
        """
        pixels = read_upload(image, self.data)
        self._uploaded += 1
        name = f"upload:{self._uploaded}"
        names = self.subject.split.attribute_names
        unknown = np.full((1, len(names)), np.nan, np.float32)
        self._uploads[name] = replace(
            self.subject.split,
            images=pixels[None],
            names=[name],
            attributes=unknown,
            groups=None,
        )
        try:
            seen = self.seen(name)
        except BaseException:
            del self._uploads[name]
            raise
        while len(self._uploads) > UPLOADS:
            oldest = next(iter(self._uploads))
            self._uploads.pop(oldest)
            self._seen = {key: own for key, own in self._seen.items() if own.name != oldest}
        return seen

    def seen(self, name: str, given: Mapping[str, float] = MappingProxyType({})) -> Seen:
        """An image such as `test:12` or `upload:3`, with its posterior.

        Args:
            name: the name.
            given: values of attributes that the programs take, by name, for those that are not
                known of the image.

        Raises:
            InputError: if there is no such image.
        """
        split = self._split_of(name)
        own = split.attributes[0, split.places(list(self.usual))].tolist()
        known = {key: value for key, value in zip(self.usual, own, strict=True) if isfinite(value)}
        whole = {**self.usual, **given, **known}
        key = name, tuple(whole.values())
        if key not in self._seen:
            unknown = [key for key in self.usual if key not in known]
            self._seen[key] = self._encoded(name, split, whole, unknown)
            while len(self._seen) > KEPT:
                self._seen.pop(next(iter(self._seen)))
        return self._seen[key]

    def _split_of(self, name: str) -> Split:
        """One image as a split; a data set may read folders to find an image."""
        for seen in self._seen.values():
            if seen.name == name:
                return seen.split
        if name in self._uploads:
            return self._uploads[name]
        if name in self._rows:
            return self.subject.split.take([self._rows[name]])
        found = re.fullmatch(r"([a-z]{1,20}):([0-9]{1,12})", name)
        if not found:
            raise InputError(
                f"{ascii(name[:80])}: no such image; allowed are names such as test:12 or upload:1"
            )
        if found[1] == "upload":
            raise InputError(f"{name}: no such upload; the last {UPLOADS} are kept")
        check_name("split", found[1], SPLITS)
        own = self.data.named(name)
        assert own is not None
        return own

    def _encoded(
        self, name: str, split: Split, given: dict[str, float], unknown: list[str]
    ) -> Seen:
        subject, row = self.subject, self._rows.get(name)
        known = split.attributes.copy()
        known[0, split.places(list(given))] = list(given.values())
        filled = replace(split, attributes=known)
        whole, rows = (filled, None) if row is None else (subject.split, np.array([row]))
        own = (subject.programs, whole, subject.engine, lambda x, **inputs: (x, inputs))
        x, inputs = next(iter(each_batch(*own, seed=subject.seed, rows=rows)))
        encoded = subject.of(filled).encoded if row is None else one_row(subject.encoded, row)
        about = name, str(split.names[0]), split, filled, given, unknown
        return Seen(*about, x, inputs, encoded, row, self._relative(split) if row is None else row)

    def _relative(self, split: Split) -> int | None:
        """The index of an encoded image of the group of an image."""
        if split.groups is None or self.subject.split.groups is None:
            return None
        return next(
            iter(np.flatnonzero(self.subject.split.groups == split.groups[0]).tolist()), None
        )


def one_row(encoded: Encoding, row: int) -> Encoding:
    """The posterior of one image."""
    parts = {
        name: getattr(encoded, name)[[row]]
        for name in (*BY_DIMENSION, "rate", "distortion", "log_q", "log_p", "squared_error")
    }
    return replace(encoded, **parts)
