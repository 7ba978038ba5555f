"""What all data sets share: sizes, limits, shown channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame
from PIL import Image

from pyrovae.data import (
    ArrayData,
    CelebA,
    ImageData,
    ImageFolder,
    StaticMNIST,
    SyntheticFaces,
    TorchvisionImages,
)
from pyrovae.data.base import image_extent
from pyrovae.utils.errors import InputError


@pytest.mark.parametrize(
    ("given", "extent"),
    [(28, (28, 28)), ((28, 20), (28, 20)), ([28, 20], (28, 20)), ([28], (28, 28))]
    + [(np.int64(28), (28, 28)), (np.array([28, 20]), (28, 20))]
    + [(text, (28, 20)) for text in ("28x20", "28X20", "28 20", "[28, 20]", "(28,20)")]
    + [("28", (28, 28))],
)
def test_sizes(given: object, extent: tuple[int, int]) -> None:
    assert image_extent(given) == extent  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [0, (28, 0), (1, 2, 3), (), "", "28x", "x28", "1x2x3", "-3", "a", 16.5, (8, 2.5), None, {}],
)
def test_wrong_sizes_are_one_clear_line(given: object) -> None:
    with pytest.raises(
        InputError, match="^image_size .*: allowed is a side, or height and width, of 1 or more"
    ):
        image_extent(given)  # type: ignore[arg-type]


FRAME = DataFrame({"file": ["a.png"], "age": [1]})


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (ImageFolder, {"root": 5}, "root must be .* str or PathLike, got int; it is the path of"),
        (
            ImageFolder,
            {"root": "", "attributes": FRAME},
            "attributes must .* got DataFrame; .*to_csv",
        ),
        (ArrayData, {"path": b"a.npy"}, "path must be of the kind str or PathLike, got bytes"),
        (CelebA, {"root": FRAME}, "root must be of the kind str or PathLike, got DataFrame"),
        (TorchvisionImages, {"name": "MNIST", "root": None}, "root must .* got NoneType"),
        (StaticMNIST, {"path": 1.5}, "path must be of the kind str or PathLike, got float"),
    ],
)
def test_other_values_are_no_paths(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        kind(**given)


def folder(root: Path, limit: int | None) -> ImageData:
    new = not (root / "images").exists()
    (root / "images").mkdir(exist_ok=True)
    for i in range(60 * new):
        Image.new("L", (4, 4), i).save(root / f"images/{i}.png")
    return ImageFolder(str(root / "images"), image_size=4, limit=limit)


def static(root: Path, limit: int | None) -> ImageData:
    bits = np.random.default_rng(0).integers(0, 2, (60, 784), np.uint8)
    np.savez(root / "bits.npz", train=bits, valid=bits[:5], test=bits[:7])
    return StaticMNIST(str(root / "bits.npz"), limit=limit)


def drawn(root: Path, limit: int | None) -> ImageData:
    return SyntheticFaces(60, 5, 7, image_size=16, limit=limit)


@pytest.mark.parametrize("make", [folder, static, drawn])
def test_a_limit_takes_a_part_of_the_training_images(
    make: Callable[[Path, int | None], ImageData], tmp_path: Path
) -> None:
    whole, many, few = (make(tmp_path, limit) for limit in (None, 20, 5))
    for split in ("val", "test"):
        assert list(few.split(split).names) == list(whole.split(split).names)
    names = [list(data.split("train").names) for data in (few, many, whole)]
    assert [len(own) for own in names[:2]] == [5, 20] and len(names[2]) > 40
    assert set(names[0]) < set(names[1]) < set(names[2])
    assert names[1] != names[2][:20]  # not the first files
    places = [names[2].index(name) for name in names[1]]
    assert places == sorted(places)
    assert np.array_equal(many.split("train").images, whole.split("train").images[places])
    assert np.array_equal(many.split("train").attributes, whole.split("train").attributes[places])
    assert len(make(tmp_path, 1000).split("train")) == len(names[2])


def test_only_limited_images_are_prepared(tmp_path: Path) -> None:
    data = folder(tmp_path, 3)
    read: list[object] = []
    plain = data.preprocess
    data.preprocess = lambda path: read.append(path) or plain(path)  # type: ignore[method-assign]
    assert len(data.split("train")) == len(read) == 3


def test_a_limit_leaves_the_prepared_images_of_all(tmp_path: Path) -> None:
    names = list(folder(tmp_path, None).split("train").names)
    assert len(folder(tmp_path, 3).split("train")) == 3
    again = folder(tmp_path, None)
    again.preprocess = pytest.fail  # type: ignore[method-assign]
    assert list(again.split("train").names) == names


def test_torchvision_data_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = np.zeros((60, 1, 28, 28), np.uint8), np.arange(60, dtype=np.float32)[:, None]
    monkeypatch.setattr(TorchvisionImages, "_load", lambda self, train: (images, labels))
    for size in (None, "14x10"):
        data = TorchvisionImages("MNIST", "/nowhere", val_size=10, limit=7, image_size=size)
        train = data.split("train")
        assert len(train) == 7 and len(data.split("val")) == 10 and len(data.split("test")) == 60
        assert train.images.shape[1:] == data.image_shape
        assert [str(int(label)) for label in train.attributes[:, 0]] == list(train.names)


@pytest.mark.parametrize("make", [folder, static, drawn])
@pytest.mark.parametrize("limit", [0, -1])
def test_wrong_limits_are_one_clear_line(
    make: Callable[[Path, int | None], ImageData], limit: int, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"limit {limit}: allowed is a number of images, 1 or"):
        make(tmp_path, limit)


def test_shown_channels_must_exist() -> None:
    assert ImageFolder("/nowhere", show=2).show == (2,)
    for show in (3, [0, 3], (-1,)):
        with pytest.raises(InputError, match=r"show -?\d: allowed is 0 to 2"):
            ImageFolder("/nowhere", show=show)
