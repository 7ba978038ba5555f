"""The line on what a data set found and did."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae import Trainer
from pyrovae.data import SPLITS, ArrayData, ImageData, ImageFolder, Shift, SyntheticFaces
from pyrovae.data.summary import summary
from tests.support.small import small_vae

TO_WIDE = (
    "3 files, 8x8 grey, cropped to the centre -> 8x6 (height x width) grey (use "
    "--data.image_size 8 to keep them)"
)


def fill(folder: Path, count: int, size: tuple[int, int], mode: str = "L") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new(mode, size, i).save(folder / f"{size[0]}_{mode}_{i}.png")


@pytest.mark.parametrize(
    ("files", "options", "line"),
    [
        (
            [((20, 28), "L")],
            {},
            "3 files, 28x20 (height x width) grey, cropped to the centre -> 64x64 RGB (use "
            "--data.image_size 28 20 --data.channels 1 to keep them)",
        ),
        (
            [((20, 28), "L")],
            {"image_size": (28, 20), "channels": 1},
            "3 files, 28x20 (height x width) grey",
        ),
        ([((8, 8), "L")], {"image_size": (8, 6), "channels": 1}, TO_WIDE),
        (
            [((8, 8), "RGB")],
            {},
            "3 files, 8x8 RGB -> 64x64 RGB (use --data.image_size 8 to keep them)",
        ),
        ([((64, 64), "RGBA")], {}, "3 files, 64x64 RGB"),
        ([((64, 64), "RGB")], {"channels": 1}, "3 files, 64x64 RGB -> 64x64 grey"),
        (
            [((9, 8), "L"), ((50, 70), "RGB")],
            {},
            "6 files, 8x9 (height x width) to 70x50 RGB and grey, cropped to the centre -> "
            "64x64 RGB",
        ),
        (
            [((400, 300), "RGB")],
            {},
            "3 files, 300x400 (height x width) RGB, cropped to the centre -> 64x64 RGB",
        ),
        ([((404, 400), "RGB")], {}, "3 files, 400x404 (height x width) RGB -> 64x64 RGB"),
        (
            [((400, 300), "RGB")],
            {"pad": True},
            "3 files, 300x400 (height x width) RGB, with black borders -> 64x64 RGB",
        ),
        (
            [((400, 300), "L")],
            {},
            "3 files, 300x400 (height x width) grey, cropped to the centre -> 64x64 RGB "
            "(use --data.channels 1 to keep them)",
        ),
        (
            [((40, 30), "RGB")],
            {"crop": 20},
            "3 files, 30x40 (height x width) RGB, cropped to 20x20 -> 64x64 RGB",
        ),
    ],
)
def test_files_and_what_becomes_of_them(
    files: list[tuple[tuple[int, int], str]], options: dict, line: str, tmp_path: Path
) -> None:
    for size, mode in files:
        fill(tmp_path, 3, size, mode)
    assert ImageFolder(str(tmp_path), **options).about() == line


def test_photographs_on_their_side_are_counted_upright(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (30, 20)), Image.Exif()
    exif[0x0112] = 6
    for i in range(3):
        image.save(tmp_path / f"{i}.jpg", exif=exif)
    assert ImageFolder(str(tmp_path)).about().startswith("3 files, 30x20 (height x width) RGB, ")


def test_the_value_range_that_auto_found_is_told() -> None:
    images = np.linspace(0, 1000, 20 * 64).reshape(20, 8, 8)
    for given, told in (("auto", True), (1000, False)):
        data = ArrayData(images, black=0, white=given, val_fraction=0.1, test_fraction=0.1)
        line = summary(data, data.split("train"), data.split("val"))
        white = f"black is 0 and white is {data.levels.white:g} (auto)"
        assert (white in line) == told == ("(auto)" in line)


def test_pages_are_counted_beside_their_files(tmp_path: Path) -> None:
    pages = [Image.new("L", (20, 28)) for _ in range(5)]
    for name in ("a", "b"):
        pages[0].save(tmp_path / f"{name}.tif", save_all=True, append_images=pages[1:])
    data = ImageFolder(str(tmp_path), image_size=(28, 20), channels=1)
    assert data.about() == "2 files with 10 pages, 28x20 (height x width) grey"


def test_files_that_cannot_be_read_are_no_obstacle(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    assert ImageFolder(str(tmp_path)).about() == "3 files -> 64x64 RGB"


def test_files_of_several_depths_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        Image.new("L", (8, 8), 200).save(tmp_path / f"a{number}.png")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        ImageFolder(str(tmp_path), image_size=8).about()
        assert not caplog.records
        Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "b.png")
        Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "c.tif")
        ImageFolder(str(tmp_path), image_size=8).about()
    kinds = r"16 bits such as b.png, 8 bits such as a\d.png, floats such as c.tif"
    assert re.search(f"values of several kinds: {kinds}; by default each", caplog.text)


@pytest.mark.parametrize(
    ("ages", "told"),
    [
        ([20, 31, -999, 85], "of 1 image is -999, and the others are 20 to 85"),
        ([20, 31, 999, 9999], "of 2 images is 999 or 9999, and the others are 20 to 31"),
        ([20, 31, np.nan, 99], ""),
        ([-99, -80, 99, 40], ""),
    ],
)
def test_codes_of_unknown_values_are_told(
    ages: list[float], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = ArrayData(np.zeros((40, 8, 8), np.uint8), attributes={"age": 10 * ages})
    with caplog.at_level(logging.WARNING, "pyrovae"):
        train = replace(data.split("train"), attributes=np.array(ages, np.float32)[:, None])
        summary(data, replace(train, names=train.names[:4], images=train.images[:4]), train)
    assert (told in caplog.text) and bool(told) == ("if it means unknown" in caplog.text)


def test_splits_attributes_and_changes(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 30, (20, 28))
    root = str(tmp_path)
    data = ImageFolder(root, image_size=8, flip=True, augment=Shift(), limit=10)
    line = summary(data, data.split("train"), data.split("val"))
    count = len(data.split("val"))
    whole = len(ImageFolder(root, image_size=8).split("train"))
    kept = "data: 60 files, 28x20 (height x width) grey, cropped to the centre -> 8x8 RGB"
    assert line.startswith(kept) and (
        line.endswith(
            f"; 10 of {whole} for training (--data.limit), {count} for validation; attributes: "
            "label (2 classes: cat, dog); training images are changed at random by flip, Shift"
        )
    )


def summary_of(data: ImageData) -> str:
    return summary(data, data.split("train"), data.split("val"))


@pytest.mark.parametrize("limit", [None, 80, 100])
def test_a_limit_that_draws_nothing_is_not_named(limit: int | None) -> None:
    data = ArrayData(np.zeros((100, 1, 8, 8), np.uint8), limit=limit)
    assert "; 80 for training, 10 for validation" in summary_of(data)
    data = ArrayData(np.zeros((100, 1, 8, 8), np.uint8), limit=79)
    assert "; 79 of 80 for training (--data.limit), 10 for validation" in summary_of(data)


def test_unknown_values_and_images_that_are_left_out_are_told() -> None:
    values = np.zeros((1000, 5))
    for column, count in enumerate((100, 4, 0, 1000, 500)):
        values[:count, column] = np.nan
    images, names = np.zeros((1000, 1, 8, 8), np.uint8), ["age", "hat", "fur", "ear", "eye"]
    splits = {name: images for name in SPLITS}
    tables = {name: values for name in SPLITS}
    data = ArrayData(splits, attributes=tables, attribute_names=names)
    told = "unknown: ear for 100%, eye for 50%, age for 10% and 1 more"
    assert summary_of(data).endswith(f"attributes: age, hat, fur, ear, eye; {told}")
    data = ArrayData(splits, attributes=tables, attribute_names=names, known=["age", "hat"])
    assert (
        "; 900 for training, 900 for validation; images left out because of unknown age, hat "
        "(--data.known): 100 for training, 100 for validation; attributes: "
    ) in summary_of(data)
    assert "unknown: ear for 100%, eye for 44%" in summary_of(data)


def test_images_of_a_limit_that_are_left_out_are_told() -> None:
    images, age = np.zeros((1000, 1, 8, 8), np.uint8), np.zeros(1000)
    splits, tables = {name: images for name in SPLITS}, {name: {"age": age} for name in SPLITS}
    tables["train"] = {"age": np.where(np.arange(1000) % 2, np.nan, 0)}
    data = ArrayData(splits, attributes=tables, known="age", limit=100)
    told, count = summary_of(data), len(data.split("train"))
    assert f"; {count} for training of 100 drawn from 1,000 (--data.limit), 1,000 for val" in told
    assert f"of unknown age (--data.known): {100 - count} for training; attributes" in told


@pytest.mark.slow
def test_a_new_run_says_it_once_and_a_resumed_run_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = SyntheticFaces(40, 8, 8, image_size=16)
    for epochs in (1, 2):
        Trainer(epochs=epochs, batch_size=8).fit(
            small_vae(), data, run=tmp_path / "run", resume=epochs > 1, progress=True
        )
        said = capsys.readouterr().out
        expected = (
            "data: SyntheticFaces, 16x16 RGB; 40 for training, 8 for validation; attributes:"
        )
        assert said.count(expected) == (epochs == 1), said
