"""The second data set of `pyrovae inspect --against`: a folder, a run, an array, or a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from pyrovae.config.building import instantiate, load_run
from pyrovae.config.parsing import Parser
from pyrovae.data import ArrayData, ImageData, Split
from pyrovae.data.array_files import SUFFIXES
from pyrovae.data.finding import find_images
from pyrovae.data.fitting import fit_pixels
from pyrovae.data.rows import spread_rows
from pyrovae.utils.errors import InputError

__all__ = ["OPTION", "divided_options", "read_all", "second_data"]

#: The option that names the data set; `--against.ARGUMENT` sets an argument of its class.
OPTION = "--against"
#: The share of an array without splits that is compared: all but a few images for the others.
WHOLE = "0.8"
#: Largest number of images.
MOST = 200
#: Numbers of channels that are converted into each other: grey and colour.
CONVERTED = (1, 3)


def divided_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of a command without those of the second data set's class, and these.

    Example:
        >>> divided_options(["RUN", "--against", "CelebA", "--against.root", "DIR", "--quick"])
        (['RUN', '--against', 'CelebA', '--quick'], ['--data.root', 'DIR'])
    """
    rest: list[str] = []
    inner: list[str] = []
    inside = False
    for argument in arguments:
        if argument.startswith("--"):
            inside = argument.startswith(f"{OPTION}.")
        (inner if inside else rest).append(argument)
    return rest, [each.replace(f"{OPTION}.", "--data.", 1) for each in inner]


def second_data(
    given: str, options: list[str], data: ImageData, *, trust: bool = False
) -> tuple[Split, list[str]]:
    """At most 200 images of another data set, prepared as those of a run.

    Args:
        given: a folder of images, a run directory, a file of an array, or the name of a class of
            data sets.
        options: arguments of the class, such as `--data.root DIR`.
        data: the data set of the run.
        trust: whether a run may name any class.

    Returns:
        The images, and a message per image that cannot be read.

    Raises:
        InputError: if there is no such folder, run or class, or no image can be used.
    """
    path = Path(given).expanduser()
    if (path / "config.yaml").is_file():
        found = _converted(load_run(path, trust=trust)[1], data, given)
        return found, []
    if path.is_dir():
        return _read(path, data)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        options = ["--data.path", str(path), "--data.test_fraction", WHOLE, *options]
        return _converted(_built(ArrayData.__name__, options), data, given), []
    if path.exists() or not given.replace(".", "").isidentifier():
        kind = "not a file of an array" if path.exists() else "no such folder"
        raise InputError(
            f"{OPTION} {given}: {kind}; allowed are a folder of images, a run directory, an "
            f"array ({', '.join(SUFFIXES)}), or a class of --data such as StaticMNIST"
        )
    return _converted(_built(given, options), data, given), []


def _built(name: str, options: list[str]) -> ImageData:
    parser = Parser(exit_on_error=False)
    parser.add_subclass_arguments(ImageData, "data")
    try:
        found = instantiate(parser, parser.parse_args(["--data", name, *options]))
    except InputError as error:
        line = str(error).replace("--data.against.", "--data.")  # The option as it was typed.
        raise InputError(line.replace("--data", OPTION)) from error
    built: ImageData = found.data
    return built


def _read(folder: Path, data: ImageData) -> tuple[Split, list[str]]:
    """Images from files anywhere below a folder, spread evenly over their names."""
    names = find_images(folder, "").images
    if not names:
        raise InputError(f"{OPTION} {folder}: no images in this folder or its subfolders")
    some = [names[row] for row in spread_rows(len(names), MOST)]
    found, complaints = read_all(some, lambda name: data.preprocess(folder / name), data)
    if not len(found):
        raise InputError(f"{OPTION} {folder}: no image can be read; the first: {complaints[0]}")
    return found, complaints


def read_all(
    names: Iterable[str], read: Callable[[str], np.ndarray], data: ImageData
) -> tuple[Split, list[str]]:
    """The images of a data set that can be read, and one message per other image."""
    images, known, complaints = [], [], []
    for name in names:
        try:
            images.append(read(name))
            known.append(name)
        except (InputError, OSError) as error:
            complaints.append(" ".join(str(error).split()))
    return _split(images, known, data), complaints


def _converted(other: ImageData, data: ImageData, given: str) -> Split:
    """Images of the test split of another data set, in the shape of the run's images."""
    found = other.split("test").spread(MOST)
    if other.image_shape == data.image_shape:
        return found
    shapes = [other.image_shape, data.image_shape]
    if not all(shape[0] in CONVERTED for shape in shapes):
        raise InputError(
            f"{OPTION} {given}: images of shape {shapes[0]} cannot be converted to {shapes[1]}; "
            f"allowed are 1 or 3 channels"
        )
    images = [fit_pixels(own, data.image_shape) for own in found.images]
    return _split(images, found.names, data)


def _split(images: list[np.ndarray], names: Sequence[str], data: ImageData) -> Split:
    stack = np.array(images, np.uint8).reshape(-1, *data.image_shape)
    return Split(stack, list(names), np.zeros((len(images), 0), np.float32))
