"""Attributes of image files: classes from the names of folders, and tables in CSV files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from posixpath import commonpath
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.data.base import Split
from pyrovae.data.finding import absent, in_short
from pyrovae.data.rows import spread_rows
from pyrovae.data.tiff import page_of
from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn
from pyrovae.utils.text import cut, printable

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Attributes",
    "check_finite",
    "folder_labels",
    "left_out",
    "of_texts",
    "read_attributes",
    "read_table",
    "read_texts",
]

#: Texts with more distinct values than this are not classes if they differ for most images.
CLASSES = 20
#: Rows that are read to find the column of file names.
SAMPLE = 1000
#: Cells that mean that a value is missing.
MISSING = ("", "na", "nan", "n/a", "null", "none", "?")
TRUTH = {"true": "1", "yes": "1", "false": "0", "no": "0"}


@dataclass(frozen=True)
class Attributes:
    """Attributes of files, by name.

    Attributes:
        columns: by attribute, one float32 value per file; NaN if it is not known.
        value_names: by attribute that is a class, the names of its values 0, 1, ...
    """

    columns: dict[str, np.ndarray] = field(default_factory=dict)
    value_names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            check_finite(name, column)

    def __or__(self, other: Attributes) -> Attributes:
        """The attributes of both; those of `other` replace others of the same name."""
        kept = {name: own for name, own in self.value_names.items() if name not in other.columns}
        return Attributes(self.columns | other.columns, kept | other.value_names)

    def without(self, name: str) -> Attributes:
        """The attributes but one."""
        columns = {own: column for own, column in self.columns.items() if own != name}
        names = {own: values for own, values in self.value_names.items() if own != name}
        return Attributes(columns, names)

    def attached(self, split: Split, files: Sequence[str]) -> Split:
        """A split with these attributes of its images, given the file of each row."""
        if not self.columns:
            return split
        rows = {printable(name): row for row, name in enumerate(files)}
        table = np.stack(list(self.columns.values()), 1, dtype=np.float32)
        values = table[[rows[printable(str(name))] for name in split.names]]
        names = tuple(self.columns)
        return replace(
            split, attributes=values, attribute_names=names, value_names=self.value_names
        )


def check_finite(name: str, values: np.ndarray) -> None:
    """Raises `InputError` if an attribute is infinite, for which no program has a meaning."""
    if count := np.isinf(values).sum():
        raise InputError(
            f"attribute {cut(name)}: {count:,} of {len(values):,} values are infinite, or too "
            "large for float32; allowed are finite values, and NaN where a value is not known"
        )


def folder_labels(folders: Sequence[PurePosixPath]) -> Attributes:
    """The attribute `label`, from the folder of each file.

    The classes are the folders directly below the deepest folder that holds all files. A file
    in that folder itself has no class. Classes are sorted by the length of their names, and
    alphabetically for equal lengths, so 2 comes before 10 and male before female. There is no
    label if there are fewer than two classes, or many classes of hardly more than one image.

    Args:
        folders: the folder of each file, relative to that of its split.

    Example:
        >>> folder_labels([PurePosixPath(p) for p in ("cat", "cat", "dog/small", "dog")]).columns
        {'label': array([0., 0., 1., 1.], dtype=float32)}
    """
    shared = len(PurePosixPath(commonpath(folders)).parts)
    classes = [(*folder.parts[shared:], "")[0] for folder in folders]
    if len({*classes} - {""}) < 2:
        return Attributes()
    return _classes("label", classes)


def _classes(name: str, texts: Sequence[str]) -> Attributes:
    """A column of texts as classes, in a fixed order; "" is not known.

    Whole numbers come first, by size; then other texts, by length and alphabetically. Runs hold
    the numbers of classes and not their names, so this order must stay as it is.
    """
    # The text itself decides between 1 and 01.
    names = sorted({*texts} - {""}, key=lambda text: (not text.isdigit(), text.zfill(20), text))
    if len(names) > max(CLASSES, len(texts) / 2):
        return Attributes()
    codes = {text: float(code) for code, text in enumerate(names)} | {"": np.nan}
    values = np.array([codes[text] for text in texts], np.float32)
    return Attributes({name: values}, {name: tuple(names)})


def read_attributes(path: Path, files: Sequence[str]) -> Attributes:
    """Reads a table of attributes, and joins its rows to files.

    One column names files: by path or name, with or without extension. It is the column that
    names the most files. Columns of numbers, and of true and false, become numbers. Columns of
    texts become classes, unless most texts differ. One warning counts the files without a row
    and the rows without a file.

    Args:
        path: a CSV file with a header; cells are separated by commas, semicolons or tabs.
        files: paths relative to the folder of the images.

    Raises:
        InputError: if the table cannot be read, no column names files, or a file has two rows.
    """
    joined = _joined(path, files)
    attributes, missed = Attributes(), []
    for name in joined.table.columns.drop(joined.key):
        if name.startswith("Unnamed: "):  # The index that pandas writes, which has no header.
            continue
        try:
            own = of_texts(str(name), joined.texts(name))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        attributes |= own
        missed += [] if own.columns else [str(name)]
    _tell(path, joined, files, missed)
    return attributes


def read_texts(path: Path, files: Sequence[str], column: str) -> list[str]:
    """Reads one column of a table, joined to files as by `read_attributes`.

    Returns:
        The cell of each file, without surrounding blanks; "" for a missing value, and where a
        file has no row.

    Raises:
        InputError: if the table has no such column, or cannot be joined.
    """
    joined = _joined(path, files)
    others = [str(name) for name in joined.table.columns.drop(joined.key)]
    if column not in others:
        raise InputError(
            f"{path}: no column {cut(column)}; the columns are {in_short([*map(cut, others)])}"
        )
    return ["" if text.lower() in MISSING else text for text in joined.texts(column)]


@dataclass(frozen=True)
class _Joined:
    """A table whose rows are joined to files.

    Attributes:
        table: the cells as texts.
        key: the column that names files.
        found: the index of the file of each row; negative if there is not one.
        rows: the row of each file; -1 if there is none.
    """

    table: pandas.DataFrame
    key: str
    found: np.ndarray
    rows: np.ndarray

    def texts(self, column: str) -> np.ndarray:
        """The cell of each file; "" without a row."""
        return np.where(self.rows < 0, "", self.table[column].to_numpy()[self.rows])


def _joined(path: Path, files: Sequence[str]) -> _Joined:
    table = read_table(path)
    if len(table.columns) < 2:
        raise InputError(f"{path}: needs a column of file names, one of values, and rows")
    key, found = _placed(table, files)
    if (found != -1).any():
        return _Joined(table, key, found, _rows(path, table[key], found, files))
    stacks = [page_of(name)[0].as_posix() for name in files]
    names = list(dict.fromkeys(stacks))  # A row may be of a stack, and so of all its pages.
    key, found = _placed(table, names)
    if (found == -1).all():
        columns = in_short([cut(name) for name in table])
        such = f"such as {cut(files[0])}"
        raise InputError(
            f"{path}: no column names the images, {such}; the columns are {columns}; "
            "--data.attributes null uses no table"
        )
    rows = dict(zip(names, _rows(path, table[key], found, names), strict=True))
    return _Joined(table, key, found, np.array([rows[name] for name in stacks]))


def _placed(table: pandas.DataFrame, files: Sequence[str]) -> tuple[str, np.ndarray]:
    """The column that names the most files, and the index of the file of each row."""
    place = _placing(files)
    # A sample tells which column it is: a table may have many columns and rows.
    some = table.iloc[spread_rows(len(table), SAMPLE)]
    hits = {name: sum(place(cell) != -1 for cell in column) for name, column in some.items()}
    key = str(max(hits, key=lambda name: hits[name]))
    return key, np.array([place(cell) for cell in table[key]], int)


def read_table(path: Path, option: str = "attributes") -> pandas.DataFrame:
    """The table as texts, with stripped cells; missing values are empty.

    Args:
        path: a CSV file, with commas, semicolons or tabs.
        option: the argument of the data set that names it.

    Raises:
        InputError: if it cannot be read.
    """
    import pandas

    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=separator), [])
        if len({name.strip() for name in names}) < len(names):
            raise ValueError("its header has a duplicate column")
        table = pandas.read_csv(
            path, sep=separator, dtype=str, na_filter=False, encoding="utf-8-sig", index_col=False
        )
    except (ValueError, OSError, csv.Error) as error:  # pandas' own errors are ValueErrors
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{absent(path, 'file')} (--data.{option})") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: {cut(reason)} (--data.{option})") from error
    if not len(table):
        raise InputError(f"{path}: has no rows (--data.{option})")
    table.columns = [name.strip() for name in table.columns]
    return table.apply(lambda column: column.str.strip())


def _placing(files: Sequence[str]) -> Callable[[str], int]:
    """A function from a cell to the index of the file that it names; -1 for none, -2 for several.

    A cell names a file by the end of its path, with or without extension, or by a path that ends
    in it.
    """
    named: dict[str, int] = {}
    for index, name in enumerate(files):
        for path in {name, name[: len(name) - len(PurePosixPath(name).suffix)]}:
            parts = path.split("/")
            for end in ("/".join(parts[start:]) for start in range(len(parts))):
                named[end] = index if end not in named else -2
    whole = {name: index for index, name in enumerate(files)}

    def place(cell: str) -> int:
        parts = [part for part in cell.replace("\\", "/").split("/") if part not in ("", ".")]
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        inner = next((whole[end] for end in ends if end in whole), None)
        return named.get("/".join(parts), -1) if inner is None else inner

    return place


def _rows(path: Path, cells: pandas.Series, found: np.ndarray, files: Sequence[str]) -> np.ndarray:
    """The row of each file; -1 for none."""
    if (found == -2).any():
        cell = cut(cells[found == -2].iat[0])
        raise InputError(f"{path}: {cell} names several images: give the path of each")
    known, counts = np.unique(found[found >= 0], return_counts=True)
    if counts.max() > 1:
        twice = files[known[counts.argmax()]]
        raise InputError(f"{path}: {counts.max()} rows for the image {cut(twice)}, allowed is one")
    rows = np.full(len(files), -1)
    rows[found[found >= 0]] = np.flatnonzero(found >= 0)
    return rows


def of_texts(name: str, texts: np.ndarray) -> Attributes:
    """A column as numbers if all known cells are numbers or true and false, else as classes.

    There is no column if no cell is known, or if there are many texts that hardly repeat.

    Args:
        name: the name of the attribute.
        texts: one text per image; an empty text is unknown, like those in `MISSING`.

    Example:
        >>> of_texts("kind", np.array(["dog", "", "cat"]))
        Attributes(columns={'kind': array([ 1., nan,  0.], dtype=float32)}, \
value_names={'kind': ('cat', 'dog')})
    """
    import pandas

    lower = pandas.Series(texts).str.lower()
    known = ~lower.isin(MISSING)
    if not known.any():
        return Attributes()
    numbers = pandas.to_numeric(lower.replace(TRUTH), errors="coerce")
    if numbers[known].isna().any():
        return _classes(name, np.where(known, texts, "").tolist())
    return Attributes({name: numbers.where(known).to_numpy(np.float32)})


def left_out(names: Sequence[str]) -> str:
    """The warning about columns that are neither numbers nor classes."""
    columns = in_short([cut(name) for name in names])
    return f"columns without numbers or repeated texts are left out: {columns}"


def _tell(path: Path, joined: _Joined, files: Sequence[str], missed: Sequence[str]) -> None:
    """Warns in one line of files without a row, rows without a file, and columns left out."""
    lines = []
    for what, wrong, names in (
        ("images have no row", joined.rows < 0, files),
        ("rows have no image", joined.found < 0, joined.table[joined.key].tolist()),
    ):
        if wrong.any():
            example = cut(names[int(wrong.argmax())])
            lines.append(f"{wrong.sum():,} of {len(wrong):,} {what}, such as {example}")
    if missed:
        lines.append(left_out(missed))
    if lines:
        warn(f"{path}: {'; '.join(lines)}")
