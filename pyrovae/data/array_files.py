"""Arrays in files: `.npy`, `.npz` and HDF5, described by their headers and read in pieces."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.base import SPLITS
from pyrovae.data.finding import absent
from pyrovae.utils.errors import InputError
from pyrovae.utils.optional import optional_package

__all__ = ["SUFFIXES", "StoredArray", "array_names", "arrays_of"]

_OBJECTS = re.compile("pickle|Python objects")  # NumPy's reasons for values that are not numbers
_HDF5 = (".h5", ".hdf5", ".he5", ".hdf")
#: The endings of files that hold arrays.
SUFFIXES = (".npy", ".npz", *_HDF5)


@dataclass(frozen=True)
class StoredArray:
    """An array in a file or in memory.

    Attributes:
        shape: the shape.
        dtype: the type of the values.
        read: returns the rows from a first to a last, exclusive.
        whole: returns the array without a copy of its rows, or None if that is impossible.
        in_memory: whether `whole` returns values in memory, not in a mapped file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], np.ndarray]
    whole: Callable[[], np.ndarray] | None = None
    in_memory: bool = True

    @classmethod
    def of(cls, array: np.ndarray, in_memory: bool = True) -> StoredArray:
        """The description of an array."""
        return cls(array.shape, array.dtype, lambda a, b: array[a:b], lambda: array, in_memory)

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0


def array_names(path: Path) -> list[str]:
    """The names of the arrays in a file; none for `.npy`, whose array has no name.

    Raises:
        InputError: if the file does not exist or cannot be read.
    """
    if not path.exists():
        raise InputError(f"--data.path {absent(path, 'file')}")
    readers = {".npy": lambda _: [], ".npz": _npz_names} | dict.fromkeys(_HDF5, _hdf5_names)
    if path.suffix.lower() not in readers:
        raise InputError(f"--data.path {path}: allowed are files {', '.join(readers)}")
    names = _checked(path, lambda: readers[path.suffix.lower()](path))
    if not names and path.suffix.lower() != ".npy":
        raise InputError(f"--data.path {path}: holds no arrays")
    return list(names)


def arrays_of(
    path: Path, key: str | None, others: Iterable[str | None] = (), option: str = "--data.key"
) -> dict[str, StoredArray]:
    """The arrays of the splits in a file; one array is the training split.

    Args:
        path: the file.
        key: the name of an array. "{}" in it is replaced by the names of splits. None selects the
            only array besides `others`.
        others: the keys of arrays that hold no images.
        option: the option of the key, for messages.

    Raises:
        InputError: if there is no such array, or several and no key.
    """
    taken = {other.replace("{}", split) for other in others if other for split in SPLITS}
    names = [name for name in array_names(path) if name not in taken]
    if key is not None and "{}" in key:
        keys = {split: key.replace("{}", split) for split in SPLITS}
        found = {split: name for split, name in keys.items() if name in names}
        if "train" not in found:
            raise _no_array(path, keys["train"], names, option)
        return {split: _array(path, name) for split, name in found.items()}
    if key is None and len(names) > 1:
        raise InputError(
            f"{option}: {path} holds the arrays {', '.join(names)}; name one, or those of the "
            "splits, such as x_{} for x_train, x_val and x_test"
        )
    if key is not None and key not in names:
        raise _no_array(path, key, names, option)
    return {"train": _array(path, key or (names[0] if names else None))}


def _no_array(path: Path, name: str, names: list[str], option: str) -> InputError:
    held = f"its arrays are {', '.join(names)}" if names else "its only array has no name"
    return InputError(f"{option} {name}: {path} has no such array; {held}")


def _array(path: Path, name: str | None) -> StoredArray:
    """The array of a name in a file; None for the array of a file `.npy`."""
    if name is None:
        return _checked(path, lambda: StoredArray.of(np.load(path, mmap_mode="r"), False))
    return _checked(path, lambda: (_npz if path.suffix.lower() == ".npz" else _hdf5)(path, name))


def _checked(path: Path, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (InputError, MemoryError):
        raise
    except Exception as error:  # A damaged file raises many types of errors.
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = "not an array of numbers" if _OBJECTS.search(reason) else reason
        raise InputError(f"--data.path {path}: cannot be read: {reason}") from error


def _npz_names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as file:
        return [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]


def _npz(path: Path, name: str) -> StoredArray:
    """An array of an `.npz` file; only the header is read until the values are used."""
    from numpy.lib import format as npy

    with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(member)
    loaded: list[np.ndarray] = []

    def whole() -> np.ndarray:
        if not loaded:  # Members are compressed: a part cannot be read on its own.
            with np.load(path) as arrays:
                loaded.append(arrays[name])
        return loaded[0]

    return StoredArray(shape, dtype, lambda a, b: whole()[a:b], whole)


def _hdf5_names(path: Path) -> list[str]:
    names: list[str] = []
    with _opened(path) as file:
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return names


def _hdf5(path: Path, name: str) -> StoredArray:
    """A data set of an HDF5 file, mapped to memory where it is one plain block of the file."""
    with _opened(path) as file:
        own = file[name]
        shape, dtype, offset = own.shape, own.dtype, own.id.get_offset()

    def read(first: int, last: int) -> np.ndarray:
        with _opened(path) as file:
            return np.asarray(file[name][first:last])

    def mapped() -> np.ndarray:
        return np.memmap(path, dtype, "r", offset, shape)

    return StoredArray(shape, dtype, read, None if offset is None else mapped, False)


def _opened(path: Path) -> Any:
    try:
        h5py = optional_package("h5py", "hdf5")
    except InputError as error:
        raise InputError(f"--data.path {path}: {error}") from None
    return h5py.File(path, "r")
