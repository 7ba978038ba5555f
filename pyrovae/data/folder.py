"""Any folder of images."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyrovae.data.base import (
    ImageData,
    Source,
    Split,
    check_crop,
    check_on_error,
    check_split,
    file_stamp,
    fingerprint,
    image_extent,
)
from pyrovae.data.cache import cached_split
from pyrovae.data.images import image_extensions, load_image
from pyrovae.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}


class ImageFolder(ImageData):
    """Images from a folder and the folders in it, found by their extension.

    Use it for your own images.

    If the folder holds `train/`, that is the training split, `val/` (or `validation/`, `valid/`)
    and `test/` are the others, and what lies elsewhere is ignored; a split without a folder of
    its own is taken from `train/`. Otherwise all images are divided. Dividing goes by a hash of
    each file's path below the divided folder: it is the same on every machine, and adding or
    removing files never moves another. Files and folders whose name starts with a dot are
    ignored.

    Args:
        root: the folder.
        image_size: side of the images, or their height and width.
        channels: 3 for colour, 1 for grey.
        crop: side in pixels of the centred square to keep; without it, the largest centred part
            with the proportions of `image_size`.
        flip: whether training mirrors images at random. Off by default, because it is right for
            most photographs but wrong for writing, scans and anything with a handedness.
        val_fraction: share of the images for validation, where it has no folder.
        test_fraction: share of the images for testing, where it has no folder.
        on_error: whether an image that cannot be read is an error, or is left out with a warning.
        cache_dir: where prepared images are kept; by default `PYROVAE_CACHE`, or `pyrovae` in
            the user's cache folder.
    """

    def __init__(
        self,
        root: str,
        image_size: int | tuple[int, int] = 64,
        channels: int = 3,
        crop: int | None = None,
        flip: bool = False,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
    ) -> None:
        if channels not in (1, 3):
            raise InputError(f"channels {channels}: allowed are 1 (grey), 3 (colour)")
        if min(val_fraction, test_fraction) < 0 or not val_fraction + test_fraction < 1:
            fractions = f"val_fraction {val_fraction}, test_fraction {test_fraction}"
            raise InputError(f"{fractions}: allowed are shares from 0 that add up to less than 1")
        check_crop(crop)
        check_on_error(on_error)
        self.root = Path(root).expanduser()
        self.image_shape = (channels, *image_extent(image_size))
        self.crop = crop
        self.flip = flip
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.on_error = on_error
        self.cache_dir = cache_dir

    def split(self, name: str) -> Split:
        """Images of `"train"`, `"val"` or `"test"`, without attributes, prepared if need be."""
        check_split(name)
        return cached_split(
            self, name, self._source(name), on_error=self.on_error, cache_dir=self.cache_dir
        )

    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """One image, cropped and resized as the stored ones: uint8 `(C, H, W)`."""
        return load_image(image, self.image_shape, self.crop)

    def settings(self) -> dict[str, Any]:
        """The folder, its division, the size and the crop."""
        return {
            "root": str(self.root.absolute()),
            "image_shape": list(self.image_shape),
            "crop": self.crop,
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
        }

    def _source(self, split: str) -> Source:
        names = self._divided[split]
        if not names:
            raise InputError(self._empty(split))
        stamps = np.array([file_stamp(self.root / name) for name in names], np.int64)
        return Source(
            names=names,
            read=lambda item: self.preprocess(self.root / names[item]),
            attributes=np.empty((len(names), 0), np.float32),
            fingerprint=fingerprint("\n".join(names), stamps),
        )

    @cached_property
    def _divided(self) -> dict[str, list[str]]:
        """The paths of each split's images below the root, in order of their names."""
        if not self.root.is_dir():
            raise InputError(
                f"{self.root}: is no folder; --data.root names one with images, and root in its "
                "config.yaml that of a run"
            )
        own = self._own_folders()
        divided = {split: sorted(_find(self.root, folder)) for split, folder in own.items()}
        if "train" not in divided:
            divided = {"train": sorted(_find(self.root, ""))}
        if not divided["train"]:
            folder = self.root / own.get("train", "")
            raise InputError(f"{folder}: no image in it or its folders, by the files' extensions")
        return divided | self._divide(divided, own.get("train", ""))

    def _own_folders(self) -> dict[str, str]:
        """The folders in the root that are splits of their own; none without one for training."""
        present = {e.name.lower(): e.name for e in os.scandir(self.root) if e.is_dir()}
        own = {
            split: present[name]
            for split, names in _FOLDERS.items()
            for name in reversed(names)
            if name in present
        }
        return own if "train" in own else {}

    def _divide(self, divided: dict[str, list[str]], folder: str) -> dict[str, list[str]]:
        """Take the splits that have no folder out of the training images."""
        test = 0.0 if "test" in divided else self.test_fraction
        val = 0.0 if "val" in divided else self.val_fraction
        parts: dict[str, list[str]] = {"train": []}
        parts |= {split: [] for split in ("val", "test") if split not in divided}
        for name in divided["train"]:
            place = _place(name.removeprefix(folder + "/"))
            split = "test" if place < test else "val" if place < test + val else "train"
            parts[split].append(name)
        return parts

    def _empty(self, split: str) -> str:
        found = sum(map(len, self._divided.values()))
        if split == "train":
            return f"{self.root}: none of {found} images is left to train on; add images"
        fraction = getattr(self, f"{split}_fraction")
        hint = (
            f"raise --data.{split}_fraction (now {fraction}) or add images, or a folder {split}/"
        )
        return f"{self.root}: none of {found} images falls in the {split} split; {hint}"


def _find(root: Path, folder: str) -> Iterator[str]:
    """Paths below the root of the images in one of its folders, at any depth."""
    extensions = image_extensions()
    seen: set[str] = set()
    strange: list[str] = []
    for path, folders, files in os.walk(root / folder, followlinks=True):
        seen.add(os.path.realpath(path))
        # A link to a folder that is being walked would lead round for ever.
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(path, name)) not in seen
        ]
        below = Path(path).relative_to(root)
        for name in files:
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in extensions:
                continue
            if _is_strange(os.path.join(path, name)):
                strange.append(os.path.join(path, name))
            else:
                yield (below / name).as_posix()
    if strange:
        logging.getLogger("pyrovae").warning(
            "%s: %d left out because they are pipes, sockets or devices, the first: %s",
            root / folder,
            len(strange),
            strange[0],
        )


def _is_strange(path: str) -> bool:
    """Whether there is something that is no file, such as a pipe, which has no end."""
    return not os.path.isfile(path) and os.path.exists(path)


def _place(name: str) -> float:
    """A number from 0 to 1 that a file's name alone decides, however its accents are encoded."""
    raw = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(raw).digest()[:6], "big") / 2**48
