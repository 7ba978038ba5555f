"""CelebA, in the layouts of Kaggle and of its authors."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import (
    SPLITS,
    Size,
    Source,
    checked_path,
    file_stamp,
    fingerprint,
    image_extent,
)
from pyrovae.data.cached import CachedImages
from pyrovae.data.finding import absent
from pyrovae.data.summary import conversion
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut

if TYPE_CHECKING:
    import pandas

__all__ = ["CelebA"]

_LIST_FOLDERS = ("", "Eval", "Anno")
_IMAGE_FOLDERS = (
    "img_align_celeba/img_align_celeba",
    "img_align_celeba",
    "Img/img_align_celeba",
    "Img/img_align_celeba/img_align_celeba",
    "img_align_celeba_png",
    "Img/img_align_celeba_png",
)


#: The endings of images.
KINDS = (".jpg", ".png")


class CelebA(CachedImages):
    """CelebA: aligned faces of celebrities, with forty attributes.

    Use it for faces: most published results on faces are on this data set.

    Two layouts are read. Kaggle's: `list_eval_partition.csv`, `list_attr_celeba.csv` and
    `img_align_celeba/img_align_celeba/*.jpg`. The authors': `list_eval_partition.txt` and
    `list_attr_celeba.txt` (also under `Eval/` and `Anno/`) and `img_align_celeba/*.jpg` (also
    under `Img/`). The images may be PNG files instead, also in `img_align_celeba_png/`. Partition
    0 is the training split, 1 validation, 2 test. The list of attributes is optional.

    Args:
        root: the folder that holds the lists and `img_align_celeba`.
        image_size: side of the images, or their height and width, as `28 20` or `28x20`.
        crop: side in pixels of the centred square to keep of the 218x178 pixels.
        flip: whether training mirrors images at random.
        augment: further random changes of training images: `Shift`, `Rotate`, `Crop`,
            `Colour`.
        limit: number of training images to use, drawn at random; by default all. Validation and
            test images stay the same.
        on_error: "raise" raises an error for a missing or unreadable image; "skip" leaves it out
            with a warning.
        cache_dir: the folder of prepared images; by default `PYROVAE_CACHE`, or `pyrovae` in the
            user's cache folder.

    References:
        Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", 2015,
        https://arxiv.org/abs/1411.7766.
    """

    def __init__(
        self,
        root: str,
        image_size: Size = 64,
        crop: int = 148,
        flip: bool = True,
        augment: Augmentation | Sequence[Augmentation] = (),
        limit: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
    ) -> None:
        shape = (3, *image_extent(image_size))
        super().__init__(
            shape,
            flip=flip,
            augment=augment,
            limit=limit,
            crop=crop,
            on_error=on_error,
            cache_dir=cache_dir,
        )
        self.root = checked_path("root", root)

    def settings(self) -> dict[str, Any]:
        """The folder, the size and the crop."""
        shape = list(self.image_shape)
        return {"root": str(self.root.absolute()), "image_shape": shape, "crop": self.crop}

    def _source(self, split: str) -> Source:
        images, table, attributes = self._listed
        rows = table[table["partition"] == SPLITS.index(split)]
        if not len(rows):
            raise InputError(f"{self.root}: no image is listed in the {split} split")
        absent = rows.index[rows["size"] < 0]
        if len(absent) and self.on_error == "raise":
            found = f"{len(absent)} of the {len(rows)} images listed in the {split} split"
            hint = "--data.on_error skip leaves them out"
            raise InputError(f"{images / cut(absent[0])}: missing, with {found} in all; {hint}")
        names = list(rows["file"])
        values = attributes.loc[rows.index].to_numpy(np.float32)
        stamps = rows[["size", "time"]].to_numpy(np.int64)
        return Source(
            names=names,
            read=lambda item: self.preprocess(images / names[item]),
            attributes=values,
            attribute_names=tuple(attributes.columns),
            fingerprint=fingerprint("\n".join(names), stamps, values),
        )

    def about(self) -> str:
        """The number of files, their size, and the size of the prepared images."""
        images, table, _ = self._listed
        return conversion([images / name for name in table["file"]], self)

    @cached_property
    def _listed(self) -> tuple[Path, pandas.DataFrame, pandas.DataFrame]:
        """The folder of images; partition and file per listed image; its attributes."""
        if not self.root.is_dir():
            reason = absent(self.root, "folder")
            raise InputError(f"{reason} (--data.root, or root in config.yaml)")
        partition = _find_list(self.root, "list_eval_partition")
        if partition is None:
            raise InputError(
                f"{self.root}: no list_eval_partition.csv or .txt in this folder, Eval/ or Anno/"
            )
        table = _read_partition(partition)
        images, files = _find_images(self.root)
        # The lists name JPEG files, also if the images are PNG files.
        stems = [Path(name).stem for name in table.index]
        table["file"] = [files["file"].get(s, n) for s, n in zip(stems, table.index, strict=True)]
        # Not a join: missing rows would turn times into floats, which lose digits.
        stamps = files[["size", "time"]].reindex(stems, fill_value=-1)
        table = table.join(stamps.set_index(table.index))
        listed = _find_list(self.root, "list_attr_celeba")
        if listed is None:
            return images, table, table[[]]
        return images, table, _read_attributes(listed, table.index)


def _find_list(root: Path, stem: str) -> Path | None:
    names = (f"{stem}.csv", f"{stem}.txt")
    paths = (root / folder / name for folder in _LIST_FOLDERS for name in names)
    return next(filter(Path.is_file, paths), None)


def _find_images(root: Path) -> tuple[Path, pandas.DataFrame]:
    """The first known folder that holds images; name, size and time of its files by stem."""
    import pandas

    for folder in _IMAGE_FOLDERS:
        path = root / folder
        if not path.is_dir():
            continue
        with os.scandir(path) as entries:
            files = [(e.name, *file_stamp(e)) for e in entries if e.name.lower().endswith(KINDS)]
        if files:
            # In this order a JPEG file replaces a PNG file of the same stem.
            found = {Path(row[0]).stem: row for row in sorted(files, reverse=True)}
            return path, pandas.DataFrame(found.values(), [*found], ["file", "size", "time"])
    looked = ", ".join(_IMAGE_FOLDERS[:3])
    raise InputError(f"{root}: no images; looked for *.jpg and *.png in {looked}")


def _read_partition(path: Path) -> pandas.DataFrame:
    """The partition (0, 1, 2) of each image, indexed by its name."""
    import pandas

    columns = None if path.suffix == ".csv" else ["image_id", "partition"]
    table = _read_table(path, columns, 0, ["image_id", "partition"])
    outside = np.flatnonzero([not _is_file_name(name) for name in table.index])
    if len(outside):
        raise InputError(f"{_row(path, table, outside[0])}: must be a file name without a folder")
    # A single bad value turns the whole column into texts.
    partition = pandas.to_numeric(table["partition"], errors="coerce")
    wrong = np.flatnonzero(~partition.isin(range(len(SPLITS))))
    if len(wrong):
        value = table["partition"].iloc[wrong[0]]
        where = _row(path, table, wrong[0])
        raise InputError(f"{where}: partition {cut(value)!r}, allowed are 0, 1, 2")
    return partition.astype(np.int64).to_frame("partition")


def _is_file_name(name: str) -> bool:
    """Whether a name is a plain file name, without a path out of its folder."""
    return not re.search(r"[/\\]", name) and name not in ("", ".", "..")


def _row(path: Path, table: pandas.DataFrame, place: int) -> str:
    """A row of a list, for messages; the first below the header is row 1."""
    return f"{path}: row {place + 1} ({cut(table.index[place])})"


def _read_attributes(path: Path, names: pandas.Index) -> pandas.DataFrame:
    """Attributes of the named images: 1 for 1 in the list, and 0 for -1."""
    import pandas

    columns = None if path.suffix == ".csv" else ["image_id", *_header(path)]
    table = _read_table(path, columns, 2, ["image_id"])
    absent = names.difference(table.index)
    if len(absent):
        raise InputError(
            f"{path}: no attributes for {len(absent)} images, such as {cut(absent[0])}"
        )
    values = table.apply(pandas.to_numeric, errors="coerce")
    wrong = np.argwhere(~values.isin((-1, 0, 1)).to_numpy())
    if len(wrong):
        row, column = wrong[0]
        value = cut(table.iloc[row, column])
        where = f"{_row(path, table, row)}, column {cut(table.columns[column])!r}"
        raise InputError(f"{where}: {value!r}, allowed are -1 and 1")
    return (values.reindex(names) > 0).astype(np.float32)


def _header(path: Path) -> list[str]:
    """The names in the second line of the authors' list; the first line is a count."""
    with open(path, encoding="utf-8", errors="replace") as file:
        file.readline()
        return file.readline().split()


def _csv_header(path: Path) -> list[str]:
    """The names in the first line of a CSV file; pandas would rename duplicates."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        names = [name.strip() for name in next(csv.reader(file), [])]
    if len(set(names)) < len(names):
        raise ValueError("its header has a duplicate column")
    return names


def _read_table(
    path: Path, columns: Sequence[str] | None, skipped: int, wanted: Sequence[str]
) -> pandas.DataFrame:
    """Reads a list as a table indexed by image; without `columns`, a CSV file with a header."""
    import pandas

    options: dict[str, Any]
    try:
        if columns is None:
            columns, options = _csv_header(path), {"header": 0, "skipinitialspace": True}
        else:
            options = {"header": None, "sep": r"\s+", "skiprows": skipped}
        table = pandas.read_csv(
            path,
            names=list(columns),
            dtype={"image_id": str},
            na_filter=False,  # An empty cell stays a text, and fails as a number.
            low_memory=False,
            **options,
        )
    except (ValueError, OSError, csv.Error) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path}: {cut(error)}") from error
    if not isinstance(table.index, pandas.RangeIndex):
        raise InputError(f"{path}: its rows have more cells than its header has columns")
    return _by_image(table, wanted, path)


def _by_image(table: pandas.DataFrame, wanted: Sequence[str], path: Path) -> pandas.DataFrame:
    """The table of a list indexed by image; refuses missing columns and repeated images."""
    for column in wanted:
        if column not in table.columns:
            found = ", ".join(map(cut, table.columns[:5])) + (", ..." * (table.shape[1] > 5))
            raise InputError(f"{path}: no column {column!r}; the columns are {found}")
    table = table.set_index(table["image_id"].str.strip()).drop(columns="image_id")
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise InputError(f"{path}: {cut(twice)} is listed more than once")
    return table
