from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae.data import SPLITS, ImageFolder
from pyrovae.errors import InputError


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


def test_grey_and_crop(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    data = ImageFolder(str(tmp_path), image_size=5, channels=1, crop=8)
    assert data.split("train").images.shape[1:] == (1, 5, 5) and not data.flip
    with pytest.raises(InputError, match="12x10 pixels, smaller than the crop of 11"):
        ImageFolder(str(tmp_path), crop=11).split("train")


def test_division_by_hash(tmp_path: Path) -> None:
    fill(tmp_path / "x", 200)
    divided = names(tmp_path)
    assert sum(map(len, divided.values())) == 200 == len(set().union(*divided.values()))
    assert 8 <= len(divided["val"]) <= 35 and 8 <= len(divided["test"]) <= 35
    assert divided["test"][:3] == ["x/image104.png", "x/image113.png", "x/image118.png"]


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
    with pytest.raises(InputError, match="absent: is no folder"):
        ImageFolder(str(tmp_path / "absent")).split("train")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match=f"{tmp_path}.*: no image"):
        ImageFolder(str(tmp_path)).split("train")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match="train: no image"):
        ImageFolder(str(tmp_path)).split("val")


def test_empty_split_says_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with pytest.raises(InputError, match=r"none of 3 images falls in the val split; raise .* 0 *"):
        ImageFolder(str(tmp_path), val_fraction=0).split("val")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"val_fraction": -0.1}, "val_fraction -0.1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "less than 1"),
        ({"test_fraction": float("nan")}, "nan"),
        ({"channels": 4}, r"channels 4: allowed are 1 \(grey\), 3 \(colour\)"),
        ({"crop": 0}, "crop 0"),
        ({"image_size": -1}, "image_size -1"),
        ({"on_error": "no"}, "on_error 'no'"),
    ],
)
def test_wrong_options(option: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageFolder("/nowhere", **option)


def test_corrupt_images(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    (tmp_path / "broken.png").write_bytes(b"no image")
    options = dict(val_fraction=0.0, test_fraction=0.0)
    with pytest.raises(InputError, match="broken.png: not an image"):
        ImageFolder(str(tmp_path), **options).split("train")
    assert len(ImageFolder(str(tmp_path), on_error="skip", **options).split("train")) == 40


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
    (record,) = caplog.records
    assert "3 left out" in record.getMessage() and ".png" in record.getMessage()
    for name in ("pipe.png", "device.png"):
        with pytest.raises(InputError, match=f"{name}: a pipe, socket or device"):
            data.preprocess(tmp_path / name)
