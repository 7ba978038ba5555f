from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae.data import CelebA
from pyrovae.utils.errors import InputError

COUNT = 12
PARTITION = [0] * 6 + [1] * 3 + [2] * 3
NAMES = [f"{i + 1:06}.jpg" for i in range(COUNT)]
ATTRIBUTES = ("Smiling", "Male")


def faces(folder: Path) -> None:
    """Grey images, each of its own value."""
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        Image.new("RGB", (178, 218), (20 * i,) * 3).save(folder / name)


def sign(number: int, attribute: int) -> int:
    return 1 if (number >> attribute) & 1 else -1


def kaggle(root: Path, images: str = "img_align_celeba/img_align_celeba") -> Path:
    faces(root / images)
    lines = [f"{name},{p}" for name, p in zip(NAMES, PARTITION, strict=True)]
    (root / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *lines]))
    lines = [f"{name},{sign(i, 0)},{sign(i, 1)}" for i, name in enumerate(NAMES)]
    header = ",".join(["image_id", *ATTRIBUTES])
    (root / "list_attr_celeba.csv").write_text("\n".join([header, *reversed(lines)]))
    return root


def original(root: Path, lists: tuple[str, str] = ("", ""), images: str = "") -> Path:
    faces(root / images / "img_align_celeba")
    for folder in lists:
        (root / folder).mkdir(exist_ok=True)
    lines = [f"{name} {p}\n" for name, p in zip(NAMES, PARTITION, strict=True)]
    (root / lists[0] / "list_eval_partition.txt").write_text("".join(lines))
    lines = [f"{name} {sign(i, 0):2d} {sign(i, 1):2d}\n" for i, name in enumerate(NAMES)]
    text = f"{COUNT}\n{' '.join(ATTRIBUTES)} \n{''.join(lines)}"
    (root / lists[1] / "list_attr_celeba.txt").write_text(text)
    return root


@pytest.mark.parametrize(
    "layout",
    [
        kaggle,
        lambda root: kaggle(root, "img_align_celeba"),
        original,
        lambda root: original(root, ("Eval", "Anno"), "Img"),
    ],
)
def test_layouts(tmp_path: Path, layout: object) -> None:
    data = CelebA(str(layout(tmp_path)), image_size=8)  # type: ignore[operator]
    start = 0
    for name, count in (("train", 6), ("val", 3), ("test", 3)):
        split = data.split(name)
        numbers = np.arange(start, start + count)
        assert split.images.shape == (count, 3, 8, 8)
        assert np.abs(split.images[:, 0, 0, 0].astype(int) - 20 * numbers).max() <= 1
        assert list(split.names) == NAMES[start : start + count]
        assert split.attribute_names == ATTRIBUTES and split.attributes.dtype == np.float32
        np.testing.assert_array_equal(split.attributes[:, 0], numbers & 1)
        np.testing.assert_array_equal(split.attributes[:, 1], numbers >> 1 & 1)
        start += count


@pytest.mark.parametrize("folder", ["img_align_celeba/img_align_celeba", "img_align_celeba_png"])
def test_png_files_of_the_listed_images(tmp_path: Path, folder: str) -> None:
    root = kaggle(tmp_path, folder)
    for name in NAMES:
        with Image.open(root / folder / name) as image:
            image.save((root / folder / name).with_suffix(".png"))
        if name != NAMES[0]:  # A JPEG file has the listed name and comes first.
            (root / folder / name).unlink()
    data = CelebA(str(root), image_size=8)
    assert list(data.split("train").names) == [
        NAMES[0],
        *(name.replace("jpg", "png") for name in NAMES[1:6]),
    ]
    numbers = np.arange(6, 9)
    val = data.split("val")
    assert np.abs(val.images[:, 0, 0, 0].astype(int) - 20 * numbers).max() <= 1
    np.testing.assert_array_equal(val.attributes[:, 0], numbers & 1)
    assert data.about() == "12 files, 218x178 (height x width) RGB, cropped to 148x148 -> 8x8 RGB"


def test_attributes_are_optional(tmp_path: Path) -> None:
    (kaggle(tmp_path) / "list_attr_celeba.csv").unlink()
    split = CelebA(str(tmp_path), image_size=8).split("val")
    assert split.attributes.shape == (3, 0) and split.attribute_names == ()


def test_constructing_reads_nothing() -> None:
    data = CelebA("/nowhere", image_size=(32, 48))
    assert data.image_shape == (3, 32, 48) and data.flip
    assert data.preprocess(Image.new("L", (178, 218), 9)).shape == (3, 32, 48)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"image_size": 0}, "image_size 0: allowed"),
        ({"image_size": (4, 4, 4)}, "image_size"),
        ({"crop": 0}, "crop 0: allowed"),
        ({"on_error": "stop"}, "on_error 'stop': allowed are raise, skip"),
    ],
)
def test_wrong_options(option: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CelebA("/nowhere", **option)


def fails(root: Path, *words: str, **options: object) -> None:
    with pytest.raises(InputError) as caught:
        CelebA(str(root), image_size=8, **options).split("train")  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_wrong_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'valid': allowed are train, val, test"):
        CelebA(str(kaggle(tmp_path))).split("valid")


def test_missing_things(tmp_path: Path) -> None:
    fails(tmp_path / "absent", str(tmp_path / "absent"), "no such folder")
    kaggle(tmp_path / "a")
    (tmp_path / "a/list_eval_partition.csv").unlink()
    fails(tmp_path / "a", "list_eval_partition")
    kaggle(tmp_path / "b", "elsewhere")
    fails(tmp_path / "b", "no images", "img_align_celeba")
    (tmp_path / "b/img_align_celeba").mkdir()
    fails(tmp_path / "b", "no images", "img_align_celeba")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("list_eval_partition", "image,partition\na,0", ("'image_id'", "image, partition")),
        ("list_eval_partition", "image_id,split\na,0", ("'partition'", "image_id, split")),
        ("list_eval_partition", "image_id,partition\n000001.jpg,7", ("7", "allowed are 0, 1, 2")),
        ("list_eval_partition", "image_id,partition\n000001.jpg,", ("000001.jpg", "allowed")),
        ("list_eval_partition", "image_id,partition\na,0\na,0", ("a is listed more than once",)),
        ("list_eval_partition", "image_id,partition\n000001.jpg,2", ("no image is listed",)),
        ("list_eval_partition", "", ("list_eval_partition.csv",)),
        ("list_eval_partition", "a,b\n1,2,3,4\n5\n1,2,3,4,5,6,7", ("list_eval_partition.csv",)),
        ("list_attr_celeba", "name,Male\na,0", ("'image_id'", "name, Male")),
        ("list_attr_celeba", "image_id,Male\n000001.jpg,1", ("no attributes for 11 images",)),
    ],
)
def test_wrong_lists(tmp_path: Path, name: str, text: str, words: tuple[str, ...]) -> None:
    (kaggle(tmp_path) / f"{name}.csv").write_text(text)
    fails(tmp_path, *words)


def test_wrong_attribute_value(tmp_path: Path) -> None:
    path = kaggle(tmp_path) / "list_attr_celeba.csv"
    path.write_text(path.read_text().replace("000001.jpg,-1,-1", "000001.jpg,-1,often"))
    fails(tmp_path, "list_attr_celeba.csv", "'Male'")


@pytest.mark.parametrize("value", ["x", "7", "", "1.5", "nan"])
def test_a_bad_value_blames_its_row(tmp_path: Path, value: str) -> None:
    folder = kaggle(tmp_path) / "img_align_celeba/img_align_celeba"
    names = [f"{i:06}.jpg" for i in range(1, 1001)]
    partitions = ["0"] * len(names)
    attributes = ["-1,1"] * len(names)
    for name in names[:3]:
        assert (folder / name).exists()

    def write(stem: str, header: str, rows: list[str]) -> None:
        lines = [",".join(row) for row in zip(names, rows, strict=True)]
        (tmp_path / f"{stem}.csv").write_text("\n".join([header, *lines]) + "\n")

    write("list_attr_celeba", "image_id,Male,Smiling", attributes)
    partitions[899] = value
    write("list_eval_partition", "image_id,partition", partitions)
    fails(tmp_path, "list_eval_partition.csv: row 900 (000900.jpg)", "allowed are 0, 1, 2")
    partitions[899] = "0"
    write("list_eval_partition", "image_id,partition", partitions)
    attributes[899] = f"-1,{value}"
    write("list_attr_celeba", "image_id,Male,Smiling", attributes)
    fails(tmp_path, "list_attr_celeba.csv: row 900 (000900.jpg), column 'Smiling'", "allowed")


@pytest.mark.parametrize("name", ["../../x.jpg", "{root}/x.jpg", "a/../../../x.jpg", "..", "a\\b"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_list_never_leads_out_of_the_folder(tmp_path: Path, name: str, on_error: str) -> None:
    (kaggle(tmp_path) / "list_attr_celeba.csv").unlink()
    Image.new("RGB", (178, 218)).save(tmp_path / "x.jpg")
    path = tmp_path / "list_eval_partition.csv"
    path.write_text(f"{path.read_text().strip()}\n{name.format(root=tmp_path)},0\n")
    fails(tmp_path, "list_eval_partition.csv: row 13", "must be a file name", on_error=on_error)


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    path = kaggle(tmp_path) / "list_eval_partition.csv"
    path.write_text(path.read_text() + "\n,1\n")
    with pytest.raises(InputError, match="must be a file name"):
        CelebA(str(tmp_path)).split("train")


def test_spaces_around_cells_are_no_part_of_them(tmp_path: Path) -> None:
    truth = CelebA(str(kaggle(tmp_path / "a"))).split("train")
    for name in ("list_eval_partition.csv", "list_attr_celeba.csv"):
        path = kaggle(tmp_path / name) / name
        path.write_text(path.read_text().replace("\n", " \n").replace(",", " , "))
        found = CelebA(str(tmp_path / name)).split("train")
        assert found.names == truth.names and (found.attributes == truth.attributes).all()


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = kaggle(tmp_path) / "list_attr_celeba.csv"
    header, rest = path.read_text().split("\n", 1)
    path.write_text(f"{header},{header.split(',')[1]}\n" + rest.replace("\n", ",1\n") + ",1")
    with pytest.raises(InputError, match="a duplicate column"):
        CelebA(str(tmp_path)).split("train")


def test_what_cannot_be_printed_is_escaped(tmp_path: Path) -> None:
    path = kaggle(tmp_path) / "list_eval_partition.csv"
    path.write_text(path.read_text() + "\na\x1b[31m.jpg,7\n")
    with pytest.raises(InputError, match=r"\(a\\x1b\[31m.jpg\): partition '7'"):
        CelebA(str(tmp_path)).split("train")


def test_binary_list(tmp_path: Path) -> None:
    (kaggle(tmp_path) / "list_eval_partition.csv").write_bytes(bytes(range(128, 256)))
    fails(tmp_path, "list_eval_partition.csv")


def test_listed_but_missing_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = kaggle(tmp_path) / "img_align_celeba/img_align_celeba"
    for name in NAMES[1:3]:
        (folder / name).unlink()
    fails(tmp_path, str(folder / NAMES[1]), "2 of the 6")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        split = CelebA(str(tmp_path), image_size=8, on_error="skip").split("train")
    assert list(split.names) == [NAMES[i] for i in (0, 3, 4, 5)]
    assert "2 of 6" in caplog.text and NAMES[1] in caplog.text
    Image.new("RGB", (178, 218)).save(folder / NAMES[1])
    again = CelebA(str(tmp_path), image_size=8, on_error="skip").split("train")
    assert len(again) == 5


def test_corrupt_images(tmp_path: Path) -> None:
    folder = kaggle(tmp_path) / "img_align_celeba/img_align_celeba"
    raw = (folder / NAMES[4]).read_bytes()
    (folder / NAMES[4]).write_bytes(raw[: len(raw) // 2])
    (folder / NAMES[5]).write_bytes(b"")
    fails(tmp_path, str(folder / NAMES[4]), "truncated")
    assert len(CelebA(str(tmp_path), image_size=8, on_error="skip").split("train")) == 4


def test_a_changed_image_is_read_again(tmp_path: Path) -> None:
    folder = kaggle(tmp_path) / "img_align_celeba/img_align_celeba"
    assert CelebA(str(tmp_path), image_size=8).split("train").images[0].max() == 0
    Image.new("RGB", (178, 218), "white").save(folder / NAMES[0])
    assert CelebA(str(tmp_path), image_size=8).split("train").images[0].min() == 255


def test_a_changed_attribute_is_read_again(tmp_path: Path) -> None:
    path = kaggle(tmp_path) / "list_attr_celeba.csv"
    assert CelebA(str(tmp_path), image_size=8).split("train").attributes[0, 1] == 0
    path.write_text(path.read_text().replace("000001.jpg,-1,-1", "000001.jpg,-1,1"))
    assert CelebA(str(tmp_path), image_size=8).split("train").attributes[0, 1] == 1


@pytest.mark.slow
def test_real_faces(real_data: Path, tmp_path: Path) -> None:
    data = CelebA(str(real_data / "celeba"), image_size=32, cache_dir=str(tmp_path))
    counts = {name: len(data.split(name)) for name in ("val", "test")}
    lines = (real_data / "celeba/list_eval_partition.csv").read_text().split()[1:]
    listed = [line.rsplit(",")[1] for line in lines]
    assert counts == {"val": listed.count("1"), "test": listed.count("2")}
    split = data.split("test")
    assert split.attributes.shape[1] == 40 and set(np.unique(split.attributes)) == {0.0, 1.0}
    path = real_data / "celeba/img_align_celeba/img_align_celeba" / split.names[17]
    np.testing.assert_array_equal(split.images[17], data.preprocess(path))
    (manifest,) = tmp_path.glob("CelebA-*/test/manifest.json")
    assert json.loads(manifest.read_text())["settings"]["crop"] == 148
