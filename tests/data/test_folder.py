from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae.data import SPLITS, ImageFolder
from pyrovae.data.finding import with_folders
from pyrovae.utils.errors import InputError


def fill(folder: Path, count: int, prefix: str = "image") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("L", (12, 10), i % 256).save(folder / f"{prefix}{i}.png")


def names(root: Path, **options: float) -> dict[str, list[str]]:
    data = ImageFolder(str(root), image_size=4, **options)  # type: ignore[arg-type]
    return {split: list(data.split(split).names) for split in SPLITS}


def test_a_tree_of_every_kind(tmp_path: Path) -> None:
    image = Image.new("RGB", (12, 10), (10, 200, 30))
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in ("a.png", "b.JPG", "c.jpeg", "deep/d.bmp", "deep/er/e.Gif", "f.webp", "g.tif"):
        image.save(tmp_path / name)
    for ignored in (".hidden.png", "notes.txt", "deep/.DS_Store", "plain"):
        (tmp_path / ignored).write_text("no image")
    (tmp_path / ".thumbnails").mkdir()
    image.save(tmp_path / ".thumbnails/x.png")
    data = ImageFolder(str(tmp_path), image_size=(4, 6), val_fraction=0, test_fraction=0)
    split = data.split("train")
    assert sorted(split.names) == sorted(
        ["a.png", "b.JPG", "c.jpeg", "deep/d.bmp", "deep/er/e.Gif", "f.webp", "g.tif"]
    )
    assert split.images.shape == (7, 3, 4, 6) and split.attributes.shape == (7, 0)
    assert np.abs(split.images[:, :, 2, 3].astype(int) - (10, 200, 30)).max() <= 6


def test_padded_images_are_whole(tmp_path: Path) -> None:
    Image.new("L", (40, 10), 255).save(tmp_path / "wide.png")
    shares = [
        (ImageFolder(str(tmp_path), 8, 1, pad=pad, val_fraction=0, test_fraction=0).split("train"))
        for pad in (False, True)
    ]
    assert [round(own.images.mean() / 255, 1) for own in shares] == [1.0, 0.2]
    with pytest.raises(InputError, match="pad and crop 5: allowed is one of them"):
        ImageFolder(str(tmp_path), crop=5, pad=True)


def test_grey_and_crop(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    data = ImageFolder(str(tmp_path), image_size=5, channels=1, crop=8)
    assert data.split("train").images.shape[1:] == (1, 5, 5) and not data.flip
    with pytest.raises(
        InputError, match=r"10x12 pixels \(height x width\), smaller than the crop of 11"
    ):
        ImageFolder(str(tmp_path), crop=11).split("train")


@pytest.mark.slow
def test_division_by_hash(tmp_path: Path) -> None:
    fill(tmp_path / "x", 200)
    divided = names(tmp_path)
    assert sum(map(len, divided.values())) == 200 == len(set().union(*divided.values()))
    assert 8 <= len(divided["val"]) <= 35 and 8 <= len(divided["test"]) <= 35
    assert divided["test"][:3] == ["x/image104.png", "x/image113.png", "x/image118.png"]


@pytest.mark.slow
def test_adding_files_moves_none(tmp_path: Path) -> None:
    fill(tmp_path, 100)
    before = names(tmp_path)
    fill(tmp_path / "more", 50, "other")
    after = names(tmp_path)
    assert all(set(before[split]) < set(after[split]) for split in SPLITS)


def test_a_larger_validation_share_leaves_the_test_split(tmp_path: Path) -> None:
    fill(tmp_path, 100)
    few, many = names(tmp_path), names(tmp_path, val_fraction=0.4)
    assert few["test"] == many["test"] and set(few["val"]) < set(many["val"])


@pytest.mark.parametrize("val", ["val", "validation", "valid", "Valid"])
def test_folders_of_splits(tmp_path: Path, val: str) -> None:
    for folder, count in (("train", 5), (val, 3), ("test", 2), ("extra", 4)):
        fill(tmp_path / folder, count)
    divided = names(tmp_path)
    assert {split: len(found) for split, found in divided.items()} == dict(train=5, val=3, test=2)
    assert divided["val"][0] == f"{val}/image0.png"


def test_split_without_a_folder_comes_from_train(tmp_path: Path) -> None:
    fill(tmp_path / "train", 100)
    fill(tmp_path / "test", 5)
    divided = names(tmp_path)
    assert len(divided["test"]) == 5 and len(divided["train"]) + len(divided["val"]) == 100
    assert 1 <= len(divided["val"]) <= 25 and all("train/" in n for n in divided["val"])
    fill(tmp_path / "val", 3)
    assert len(names(tmp_path)["train"]) == 100


def test_the_division_does_not_depend_on_where_the_folder_is(tmp_path: Path) -> None:
    fill(tmp_path / "a", 60)
    fill(tmp_path / "b/train", 60)
    moved = {
        s: [n.removeprefix("train/") for n in found] for s, found in names(tmp_path / "b").items()
    }
    assert names(tmp_path / "a") == moved


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", 20)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "root")
    assert sum(map(len, names(tmp_path / "root").values())) == 20
    (tmp_path / "root/broken.png").symlink_to(tmp_path / "nothing.png")
    options = dict(val_fraction=0.0, test_fraction=0.0)
    with pytest.raises(InputError, match="broken.png: No such file"):
        ImageFolder(str(tmp_path / "root"), **options).split("train")
    assert (
        len(ImageFolder(str(tmp_path / "root"), on_error="skip", **options).split("train")) == 20
    )


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: no such folder"):
        ImageFolder(str(tmp_path / "absent")).split("train")
    with pytest.raises(InputError, match=re.escape(f"absent: no such folder in {Path.cwd()} (")):
        ImageFolder("absent").split("train")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="notes.txt: is a file, --data.root is a folder"):
        ImageFolder(str(tmp_path / "notes.txt")).split("train")
    with pytest.raises(InputError, match=f"{tmp_path}.*: no image"):
        ImageFolder(str(tmp_path)).split("train")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="train: no image"):
        ImageFolder(str(tmp_path)).split("val")


def test_empty_split_says_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with pytest.raises(
        InputError, match=r"none of the 3 images is in the val split; raise .* 0 *"
    ):
        ImageFolder(str(tmp_path), val_fraction=0).split("val")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"val_fraction": -0.1}, "val_fraction -0.1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "less than 1"),
        ({"test_fraction": float("nan")}, "nan"),
        ({"channels": 0}, r"channels 0: allowed are 1 \(grey\), 3 \(colour\) and more"),
        ({"crop": 0}, "crop 0"),
        ({"image_size": -1}, "image_size -1"),
        ({"on_error": "no"}, "on_error 'no'"),
    ],
)
def test_wrong_options(option: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageFolder("/nowhere", **option)


@pytest.mark.slow
def test_corrupt_images(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    (tmp_path / "broken.png").write_bytes(b"no image")
    options = dict(val_fraction=0.0, test_fraction=0.0)
    with pytest.raises(InputError, match="broken.png: not an image"):
        ImageFolder(str(tmp_path), **options).split("train")
    assert len(ImageFolder(str(tmp_path), on_error="skip", **options).split("train")) == 40


def train_with(root: Path, values: list[np.ndarray], suffix: str = "png") -> np.ndarray:
    root.mkdir()
    for place, array in enumerate(values):
        Image.fromarray(array).save(root / f"{place}.{suffix}")
    options = dict(val_fraction=0.0, test_fraction=0.0)
    return ImageFolder(str(root), image_size=8, channels=1, **options).split("train").images


@pytest.mark.parametrize(
    ("low", "high", "levels", "edges"),
    [(0, 4096, 17, "from 0 to 16"), (1000, 1401, 2, "from 4 to 5"), (0, 16384, 65, "")],
)
def test_deep_files_that_use_little_of_their_range_are_told(
    low: int, high: int, levels: int, edges: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.linspace(low, high - 1, 6400).astype(np.uint16).reshape(100, 8, 8)
    with caplog.at_level(logging.WARNING, "pyrovae"):
        images = train_with(tmp_path / "deep", list(values))
    assert len(np.unique(images)) == levels
    told = [record.getMessage() for record in caplog.records]
    assert (
        told == [] if not edges else f"use only {levels} of 256 grey levels, {edges};" in told[0]
    )


def test_a_data_set_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, 40)
    (tmp_path / "broken.png").write_bytes(b"no image")
    data = ImageFolder(str(tmp_path), on_error="skip", val_fraction=0.0, test_fraction=0.0)
    data.split("train")
    data.split("train")
    assert caplog.text.count("left out") == 1


@pytest.mark.parametrize("values", [[0, 255], list(range(64)), list(range(0, 256, 3))])
def test_black_and_white_and_many_levels_need_no_word(
    values: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = [np.full((8, 8), value, np.uint8) for value in values]
    with caplog.at_level(logging.WARNING, "pyrovae"):
        train_with(tmp_path / "shallow", arrays)
    assert not caplog.records


def test_one_rule_for_all_float_files(tmp_path: Path) -> None:
    arrays = [np.full((8, 8), value, np.float32) for value in (0.2, 0.999, 1.0)]
    images = train_with(tmp_path / "unit", arrays, "tif")
    assert sorted(images[:, 0, 0, 0].tolist()) == [51, 255, 255]
    with pytest.raises(InputError, match=r"1\.tif: values of float32 from 1\.001"):
        train_with(tmp_path / "beyond", [arrays[0], np.full((8, 8), 1.001, np.float32)], "tif")


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", "dev", "Testing"),
        ("TRAIN", "eval", "TEST"),
        ("train", "Evaluation", "testing"),
        ("training", "Dev", "EVAL"),
        ("train", "valid", "eval"),
    ],
)
def test_folders_of_splits_by_other_names(
    train: str, val: str, test: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, count in ((train, 5), (val, 3), (test, 2)):
        fill(tmp_path / folder, count)
    with caplog.at_level(logging.WARNING, "pyrovae"):
        data = ImageFolder(str(tmp_path), image_size=4)
        found = {split: data.split(split).names for split in ("val", "test", "train")}
    assert {s: (len(n), n[0].split("/")[0]) for s, n in found.items()} == {
        "train": (5, train),
        "val": (3, val),
        "test": (2, test),
    }
    assert not [record for record in caplog.records if "not used" in record.getMessage()]


def told_of(root: Path, caplog: pytest.LogCaptureFixture, **options: float) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "pyrovae"):
        data = ImageFolder(str(root), image_size=4, **options)  # type: ignore[arg-type]
        for _ in range(2):
            data._source("train")
    return [record.getMessage() for record in caplog.records]


def test_folders_that_are_pooled_or_ignored_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "flat", 20)
    assert told_of(tmp_path / "flat", caplog) == []
    for number in range(8):
        fill(tmp_path / f"classes/c{number}", 5)
    (line,) = told_of(tmp_path / "classes", caplog)
    assert "are pooled and divided (where a folder is one person, --data.group_by" in line
    assert line.endswith(": c0, c1, c2, c3, c4, c5 and 2 more")
    fill(tmp_path / "split/train", 9)
    assert told_of(tmp_path / "split", caplog) == []
    fill(tmp_path / "split/Holdout", 2)
    (line,) = told_of(tmp_path / "split", caplog)
    assert line.endswith("the splits are the folders train (train); not used: Holdout")


def test_image_files_that_are_not_used_are_counted_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, 20)
    for number in range(40):
        (tmp_path / f"{number}.HEIC").write_bytes(b"any")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "nothing").write_bytes(b"")
    assert [line.split("; ")[0] for line in told_of(tmp_path, caplog)] == [
        f"{tmp_path}: 40 of 60 image files are not used: 40 .heic"
    ]
    (tmp_path / "unnamed").write_bytes((tmp_path / "image0.png").read_bytes())
    (tmp_path / "b.dat").write_bytes(b"RIFF1234WEBPVP8 ")
    (line,) = told_of(tmp_path, caplog)
    assert "42 of 62 image files are not used: 40 .heic, " in line
    assert "1 no extension" in line and "1 .dat" in line


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_pipes_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, 20)
    for name in ("pipe.png", "pipe"):
        os.mkfifo(tmp_path / name)
    (line,) = told_of(tmp_path, caplog)
    assert "2 of 22 image files are not used: 2 pipe or device;" in line


@pytest.mark.parametrize("count", range(3, 60))
def test_every_split_of_few_images_has_one(count: int, tmp_path: Path) -> None:
    for number in range(count):
        (tmp_path / f"{number}.png").write_bytes(b"unread")
    divided = ImageFolder(str(tmp_path))._divided
    assert min(map(len, divided.values())) > 0
    assert len({name for part in divided.values() for name in part}) == count
    alone = ImageFolder(str(tmp_path), val_fraction=0)._divided
    assert not alone["val"] and alone["test"] and alone["train"]
    most = ImageFolder(str(tmp_path), val_fraction=0.5, test_fraction=0.499)._divided
    assert min(map(len, most.values())) > 0


def test_a_folder_without_images_is_no_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", 40)
    (tmp_path / "val").mkdir()
    divided = names(tmp_path)
    assert divided["val"] and all(name.startswith("train/") for name in divided["val"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_and_devices_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(40):
        Image.new("RGB", (8, 8), (5 * i, 0, 0)).save(tmp_path / f"{i}.png")
    for name in ("pipe.png", "other.png"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "device.png").symlink_to("/dev/zero")
    data = ImageFolder(str(tmp_path), image_size=8)
    assert sum(len(data.split(name)) for name in ("train", "val", "test")) == 40
    told = [record.getMessage() for record in caplog.records]
    assert any("3 of 43 image files are not used: 3 pipe or device;" in line for line in told)
    for name in ("pipe.png", "device.png"):
        with pytest.raises(InputError, match=f"{name}: a pipe, socket or device"):
            data.preprocess(tmp_path / name)


def test_a_folder_among_names_of_images_is_all_of_its_images(tmp_path: Path) -> None:
    fill(new := tmp_path / "new", 30)
    fill(new / "deep", 1)
    found = with_folders(["test:1", str(new), "a.png", str(new), "a.png"])
    assert len(found) == 33 and found[0] == "test:1" and found[-1] == "a.png"
    assert set(found[1:-1]) == {str(path) for path in new.rglob("*.png")}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no images in this folder or its subfolders$"):
        with_folders([str(tmp_path / "empty")])
