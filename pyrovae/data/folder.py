"""A data set from any folder of images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import (
    Size,
    Source,
    Split,
    checked_path,
    file_stamp,
    fingerprint,
    image_extent,
    optional_path,
)
from pyrovae.data.cached import CachedImages
from pyrovae.data.division import check_fractions, warn_of_shares
from pyrovae.data.finding import Found, absent, find_images, in_short
from pyrovae.data.folder_division import (
    FOLDERS,
    SPLIT_NAMES,
    by_column,
    check_groups,
    divide_by_hash,
    group_names,
    warn_of_unused_column,
)
from pyrovae.data.images import all_values
from pyrovae.data.labels import Attributes, folder_labels, read_attributes
from pyrovae.data.summary import conversion
from pyrovae.data.tiff import page_names, page_of
from pyrovae.data.values import Level, memory_of
from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn
from pyrovae.utils.text import cut, printable

__all__ = ["ImageFolder"]


class ImageFolder(CachedImages):
    """Images in a folder and its subfolders, found by their extension.

    Use it for your own images.

    If the folder has a subfolder `train/` (or `training/`), that is the training split. `val/` (or
    `validation/`, `valid/`, `dev/`, `eval/`) is the validation split, and `test/` (or `testing/`;
    `eval/` if there is another validation folder) is the test split. Case does not matter. Other
    subfolders are ignored. A split without its own folder is taken from `train/`.

    Without `train/`, all images are pooled and divided. Dividing uses a hash of each file's path
    below the divided folder. The division is the same on every machine, and adding or removing
    files does not move other files. One exception: an empty split takes the nearest image of the
    largest split. With `group_by` the hash is that of the group: all images of a person are in
    one split.

    Two or more subfolders of the splits (`train/cat`, `train/dog`), or of the folder without
    `train/`, are classes: the attribute `label`. They are sorted by the length of their names,
    then alphabetically, so 2 comes before 10. `attributes` adds the columns of a table.

    Each page of a TIFF stack is an image; `.npy` files hold one image each.

    Warnings list the folders that are pooled or ignored and the files that cannot be read as
    images. Files and folders whose name starts with a dot are ignored.

    Args:
        root: the folder.
        image_size: side of the images, or their height and width, as `28 20` or `28x20`.
        channels: 3 for colour, 1 for grey; other numbers are the channels of the files.
        crop: side in pixels of the centred square to keep; by default the largest centred part
            with the proportions of `image_size`.
        pad: keeps whole images: black borders, in place of a crop, give them the proportions of
            `image_size`.
        flip: whether training mirrors images at random; off by default. It suits most photographs,
            but not writing, scans or anything whose left and right differ.
        augment: further random changes of training images: `Shift`, `Rotate`, `Crop`,
            `Colour`.
        limit: number of training images to use, drawn at random; by default all. Validation and
            test images stay the same.
        show: the channels that pictures show, such as `2 1 0`; by default all. Three are shown as
            red, green and blue.
        attributes: a CSV file of attributes. One column names the images by path or name, with or
            without extension. Numbers stay numbers, texts become classes.
        known: names of attributes that must be known, such as `age`: images without them are left
            out of all splits. `limit` is applied before.
        factors: names of the attributes that images were generated from, such as `x y`: `evaluate`
            and `inspect` score how well single latent dimensions match them.
        group_by: what defines a group, such as the images of one person; dividing keeps each group
            in one split. "folder" (the folder that the image itself is in), "file" (the pages of a
            stack), or a column of `attributes`, such as `patient`. By default images are divided
            individually.
        split_by: a column of `attributes` that names the split of each image, in place of
            folders: train, val or test.
        val_fraction: share of the images, or of groups, for validation, if that split is not
            given.
        test_fraction: share of the images, or of groups, for testing, if that split is not given.
        on_error: "raise" raises an error for an unreadable image; "skip" leaves it out with a
            warning.
        cache_dir: the folder of prepared images; by default `PYROVAE_CACHE`, or `pyrovae` in the
            user's cache folder.
        black: the stored value of grey value 0, or "auto": the 0.1% quantile of all training
            images. By default 0.
        white: the stored value of grey value 255, or "auto": the 99.9% quantile. By default 255
            for 8 bits, 65535 for 16 bits, and 1 for floats.
    """

    def __init__(
        self,
        root: str,
        image_size: Size = 64,
        channels: int = 3,
        crop: int | None = None,
        pad: bool = False,
        flip: bool = False,
        augment: Augmentation | Sequence[Augmentation] = (),
        limit: int | None = None,
        show: int | Sequence[int] = (),
        attributes: str | None = None,
        known: str | Sequence[str] = (),
        factors: str | Sequence[str] = (),
        group_by: str | None = None,
        split_by: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
        black: Level = None,
        white: Level = None,
    ) -> None:
        if channels < 1:
            raise InputError(f"channels {channels}: allowed are 1 (grey), 3 (colour) and more")
        check_fractions(val_fraction, test_fraction)
        shape = (channels, *image_extent(image_size))
        super().__init__(
            shape,
            flip=flip,
            augment=augment,
            limit=limit,
            show=show,
            crop=crop,
            known=known,
            factors=factors,
            on_error=on_error,
            cache_dir=cache_dir,
            black=black,
            white=white,
        )
        if pad and crop is not None:
            raise InputError(f"pad and crop {crop}: allowed is one of them")
        self.pad, self.group_by, self.split_by = pad, group_by, split_by
        self.root = checked_path("root", root, "; it is the path of a folder")
        table = "; it is the path of a CSV file, as frame.to_csv(path, index=False) writes it"
        self.attributes = optional_path("attributes", attributes, table)
        self.val_fraction, self.test_fraction = val_fraction, test_fraction

    def settings(self) -> dict[str, Any]:
        """The folder, its division, the size, the crop and the value range."""
        return super().settings() | {
            "root": str(self.root.absolute()),
            "image_shape": list(self.image_shape),
            "crop": self.crop,
            **({"pad": True} if self.pad else {}),  # Caches of earlier versions stay.
            "val_fraction": self.val_fraction,
            "test_fraction": self.test_fraction,
        }

    def split(self, name: str) -> Split:
        """Images and attributes of `"train"`, `"val"` or `"test"`; prepares them if needed."""
        whole = self._attributes.attached(super().split(name), self._files)
        if self.group_by:
            named = {printable(name): group for name, group in self._group_of.items()}
            whole = replace(whole, groups=np.array([named[name] for name in whole.names]))
        return self.informed(name, whole)

    def attributes_of(self, image: str) -> dict[str, float] | None:
        """The attributes of a file in the folder, NaN if not known; None for other files."""
        files = self._files if (names := [*self._names_of(image)]) else []
        row = next((files.index(name) for name in names if name in files), None)
        if row is None:
            return None
        return {name: float(column[row]) for name, column in self._attributes.columns.items()}

    def _names_of(self, image: str) -> Iterator[str]:
        """The names that a file may have in the folder; links lead to it, or lie in it."""
        folder, name = os.path.split(os.path.abspath(image))
        places = (folder, os.path.realpath(folder))
        paths = [*(Path(place, name) for place in places), Path(os.path.realpath(image))]
        for root in (Path(os.path.abspath(self.root)), Path(os.path.realpath(self.root))):
            yield from (p.relative_to(root).as_posix() for p in paths if p.is_relative_to(root))

    @property
    def _files(self) -> list[str]:
        """The paths of all images, split by split, with those that `split_by` leaves out."""
        return [name for names in self._divided.values() for name in names]

    @cached_property
    def _attributes(self) -> Attributes:
        """The attributes of `_files`: the label of their folder, and the columns of the table."""
        found = folder_labels([self._class_folder(name) for name in self._files])
        table = (
            Attributes()
            if self.attributes is None
            else read_attributes(self.attributes, self._files)
        )
        if "label" not in table.columns:
            self._tell_unlabelled(found)
        if self.split_by is None:
            warn_of_unused_column(table.value_names)
        else:
            table = table.without(self.split_by)
        return found | table

    def _tell_unlabelled(self, found: Attributes) -> None:
        """Warns about images that are outside the class folders."""
        labels = found.columns.get("label", np.empty(0))
        if count := int(np.isnan(labels).sum()):
            warn(
                f"{self.root}: {count:,} of {len(labels):,} images are in no class folder, so "
                "their label is unknown, such as "
                f"{cut(self._files[int(np.isnan(labels).argmax())])}"
            )

    def _class_folder(self, name: str) -> PurePosixPath:
        """The folder of a file, without that of its split."""
        first, *inner = PurePosixPath(name).parent.parts or ("",)
        return PurePosixPath(*([] if first.lower() in SPLIT_NAMES else [first]), *inner)

    def about(self) -> str:
        """The number of files, their size, and the size of the prepared images."""
        return conversion([self.root / name for name in self._files], self)

    def _source(self, split: str) -> Source:
        names = self._divided[split]
        if not names:
            raise InputError(self._empty(split))
        stamps = self._stamps(names)
        return Source(
            names=names,
            read=lambda item: self.preprocess(self.root / names[item]),
            attributes=np.empty((len(names), 0), np.float32),
            fingerprint=fingerprint("\n".join(names), stamps),
        )

    def _stamps(self, names: Sequence[str]) -> np.ndarray:
        return np.array([file_stamp(page_of(self.root / name)[0]) for name in names], np.int64)

    def _training_values(self) -> Iterator[np.ndarray]:
        return all_values(
            [self.root / name for name in self._divided["train"]],
            self.image_shape[0],
            skip=self.on_error == "skip",
        )

    def _levels_file(self) -> Path:
        names = self._divided["train"]
        stamps = fingerprint("\n".join(names), self._stamps(names))
        return memory_of([str(self.root.absolute()), self.image_shape[0], stamps], self.cache_dir)

    @cached_property
    def _divided(self) -> dict[str, list[str]]:
        """The paths of each split's images relative to the root, sorted by name.

        Those that `split_by` leaves out have the key "".
        """
        return self._given | self._divide({name: own for name, own in self._given.items() if name})

    @cached_property
    def _own(self) -> dict[str, str]:
        """The folders in the root that are splits; none if there is no training folder."""
        present: dict[str, str] = {}
        for name in [] if self.split_by else self._folders():
            present.setdefault(name.lower(), name)
        own: dict[str, str] = {}
        for split, names in FOLDERS.items():
            if found := next((name for name in names if name in present), None):
                own[split] = present.pop(found)
        return own if "train" in own else {}

    @cached_property
    def _given(self) -> dict[str, list[str]]:
        """The paths of the images of each given split; see `_divided`."""
        if self.root.is_file():
            raise InputError(
                f"{self.root}: is a file, --data.root is a folder of images; the data set of an "
                "array in a file is --data ArrayData --data.path"
            )
        if not self.root.is_dir():
            reason = absent(self.root, "folder")
            raise InputError(f"{reason} (--data.root, or root in config.yaml)")
        found = {split: find_images(self.root, folder) for split, folder in self._own.items()}
        if "train" not in found:
            found = {"train": find_images(self.root, "")}
        self._tell_folders()
        self._tell_unused(found)
        if not found["train"].images:
            folder = self.root / self._own.get("train", "")
            raise InputError(f"{folder}: no images in this folder or its subfolders")
        divided = {
            split: list(page_names(self.root, part.images, self.image_shape[0]))
            for split, part in found.items()
            if part.images
        }
        if self.split_by:
            return by_column(divided["train"], self.split_by, self.attributes)
        return divided

    def _folders(self) -> list[str]:
        """The names of the folders in the root, sorted."""
        folders = (entry.name for entry in os.scandir(self.root) if entry.is_dir())
        return sorted(name for name in folders if not name.startswith("."))

    def _tell_folders(self) -> None:
        """Warns about folders that are pooled or ignored."""
        others = [name for name in self._folders() if name not in self._own.values()]
        if others and self._own:
            used = ", ".join(f"{folder} ({split})" for split, folder in self._own.items())
            warn(f"{self.root}: the splits are the folders {used}; not used: {in_short(others)}")
        elif others and not (self.group_by or self.split_by):
            warn(
                f"{self.root}: there is no folder train, so the images of all folders are pooled "
                "and divided (where a folder is one person, --data.group_by folder keeps it in "
                f"one split): {in_short(others)}"
            )

    def _tell_unused(self, found: dict[str, Found]) -> None:
        """Warns about image files that are not used."""
        unused = sum((part.unused for part in found.values()), Counter[str]())
        if unused:
            kinds = [f"{count:,} {kind}" for kind, count in unused.most_common()]
            used = sum(len(part.images) for part in found.values())
            warn(
                f"{self.root}: {unused.total()} of {unused.total() + used} image files are not "
                f"used: {in_short(kinds)}; convert them to PNG or JPEG, or correct their extension"
            )

    def _divide(self, divided: dict[str, list[str]]) -> dict[str, list[str]]:
        """Divides the training images into training and the splits that are not given."""
        groups = {split: [self._group_of[name] for name in own] for split, own in divided.items()}
        shares = {"test": self.test_fraction, "val": self.val_fraction}
        missing = {split: share for split, share in shares.items() if split not in divided}
        if self.group_by:
            check_groups(self.root, groups, missing, self.group_by)
        found = divide_by_hash(divided["train"], groups["train"], missing)
        if self.group_by:
            warn_of_shares({name: len(part) for name, part in found.items()}, missing)
        return found

    @cached_property
    def _group_of(self) -> dict[str, str]:
        """The group of each image by its path; without `group_by` each image is one."""
        given = {split: part for split, part in self._given.items() if split}
        names = [name for part in given.values() for name in part]
        inner = [
            name.removeprefix(f"{self._own.get(split, '')}/")
            for split, part in given.items()
            for name in part
        ]
        groups = group_names(names, inner, self.group_by, self.attributes)
        return dict(zip(names, groups, strict=True))

    def _empty(self, split: str) -> str:
        found = sum(map(len, self._divided.values()))
        if split == "train":
            return f"{self.root}: none of the {found} images is left for training; add images"
        fraction = getattr(self, f"{split}_fraction")
        hint = (
            f"raise --data.{split}_fraction (now {fraction}), add images, or add a folder {split}/"
        )
        return f"{self.root}: none of the {found} images is in the {split} split; {hint}"
