"""Attributes of image files: classes from folders, and tables."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pyrovae.data import SPLITS, ArrayData, Batches, ImageData, ImageFolder, Split, TorchDataset
from pyrovae.data.base import names_of as listed
from pyrovae.data.columns import numbered
from pyrovae.data.labels import folder_labels, of_texts, read_attributes
from pyrovae.utils.errors import InputError

FILES = ["train/cat/0.png", "train/cat/1.png", "train/dog/2.png", "test/dog/3.jpg"]


def fill(folder: Path, count: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        Image.new("L", (12, 10), i % 256).save(folder / f"{i}.png")


def classes_of(data: ImageFolder, split: str) -> dict[str, str]:
    """The class of each image by its name."""
    table = data.split(split).table()
    return dict(zip(table.index, table["label"], strict=True))


def labelled(*folders: str) -> list[float]:
    return folder_labels([PurePosixPath(folder) for folder in folders]).columns["label"].tolist()


def test_classes_are_folders_below_the_shared_one() -> None:
    assert labelled("b", "a", "a/deep", "b/x/y") == [1, 0, 0, 1]
    assert labelled("images/b", "images/a", "images/a/deep") == [1, 0, 0]
    assert np.isnan(labelled("", "a", "b")).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "names",
    [
        ["b", "odd", "cats dogs"],
        ["cat", "bird", "mouse"],
        ["male", "female"],
        ["2", "9", "10", "x"],
        ["b2", "b9", "b10"],
        ["01", "1", "02", "a1", "a2", "a01"],
    ],
)
def test_runs_rely_on_the_order_of_classes_from_folders_and_tables(names: list[str]) -> None:
    codes = list(range(len(names)))
    for some in (codes, codes[::-1]):
        texts = [names[code] for code in some]
        assert labelled(*texts) == some
        column = of_texts("kind", np.array([*texts, "~ a text that is no number"]))
        assert column.columns["kind"][:-1].tolist() == some


def test_labels_that_are_texts_are_numbered_by_the_alphabet() -> None:
    values, names = numbered(np.array(["mouse", "cat", "bird", "10", "2"]))
    assert names == ("10", "2", "bird", "cat", "mouse") and values.tolist() == [4, 3, 2, 0, 1]


@pytest.mark.parametrize("folders", [("", ""), ("a", "a"), ("", "a"), ("a/b", "a/b")])
def test_fewer_than_two_folders_are_no_classes(folders: tuple[str, ...]) -> None:
    assert not folder_labels([PurePosixPath(folder) for folder in folders]).columns


def test_a_folder_for_nearly_every_image_is_no_class() -> None:
    assert not folder_labels([PurePosixPath(str(i)) for i in range(30)]).columns
    assert folder_labels([PurePosixPath(str(i // 2)) for i in range(60)]).columns


def test_classes_in_split_folders(tmp_path: Path) -> None:
    for split, number in (("Training", 0), ("valid", 20), ("TEST", 40)):
        for place, name in enumerate(("cat", "dog")):
            fill(tmp_path / split / name, 3, number + 10 * place)
    fill(tmp_path / "TEST/eel", 2, 70)
    data = ImageFolder(str(tmp_path), image_size=4)
    for split in SPLITS:
        found = data.split(split)
        assert found.attribute_names == ("label",) and found.attributes.dtype == np.float32
        assert found.value_names == {"label": ("cat", "dog", "eel")}
        assert all(name.split("/")[1] == own for name, own in classes_of(data, split).items())
    assert set(classes_of(data, "train").values()) == {"cat", "dog"}


def test_pooled_folders_are_classes_but_names_of_splits_are_not(tmp_path: Path) -> None:
    for place, folder in enumerate(("cat", "dog", "test/dog", "valid/cat", "eval")):
        fill(tmp_path / folder, 12, 20 * place)
    data = ImageFolder(str(tmp_path), image_size=4)
    found = {name: own for split in SPLITS for name, own in classes_of(data, split).items()}
    assert len(found) == 60
    for name, own in found.items():
        assert own == name.split("/")[-2] if "eval" not in name else own != own  # NaN


def test_without_class_folders_there_are_no_attributes(tmp_path: Path) -> None:
    for split in SPLITS:
        fill(tmp_path / split, 3)
    assert ImageFolder(str(tmp_path), image_size=4).split("train").attributes.shape == (3, 0)


def test_unreadable_images_that_are_skipped_keep_the_labels_of_others(tmp_path: Path) -> None:
    fill(tmp_path / "train/a", 3)
    fill(tmp_path / "train/b", 3, 10)
    fill(tmp_path / "test", 1)
    (tmp_path / "train/a/00.png").write_bytes(b"no image")
    data = ImageFolder(str(tmp_path), image_size=4, val_fraction=0, on_error="skip")
    found = classes_of(data, "train")
    assert len(found) == 6 and all(name.split("/")[1] == own for name, own in found.items())


def test_labels_reach_batches_and_rows(tmp_path: Path) -> None:
    for place, name in enumerate(("a", "b")):
        fill(tmp_path / name, 20, 20 * place)
    split = ImageFolder(str(tmp_path), image_size=4, channels=1).split("train")
    for images, attributes in Batches(split, 4, seed=0, attributes=["label"]).labelled(0):
        assert torch_equal(images[:, 0, 0, 0] >= 20, attributes[:, 0] == 1)
    some = split.take([0, 3])
    assert some.value_names == split.value_names and list(some.table()["label"]) == ["a", "a"]


def torch_equal(first: object, second: object) -> bool:
    return np.array_equal(np.asarray(first), np.asarray(second))


TABLE = """file;size;kind;tame;uid;note
0.png;1.5;cat;true;a;
train\\cat\\1.png;-2;cat;False;b;
2;;dog;yes;c;
./images/test/dog/3.jpg;4;dog;NO;d;
"""


def test_columns_of_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8-sig")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        found = read_attributes(path, FILES)
    assert list(found.columns) == ["size", "kind", "tame", "uid"]
    assert found.columns["size"].tolist()[:2] + found.columns["size"].tolist()[3:] == [1.5, -2, 4]
    assert np.isnan(found.columns["size"][2])
    assert found.columns["kind"].tolist() == [0, 0, 1, 1]
    assert found.columns["tame"].tolist() == [1, 0, 1, 0]
    assert found.value_names["kind"] == ("cat", "dog") and "tame" not in found.value_names
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{path}: columns without numbers or repeated texts are left out: note"


def test_rows_and_files_without_partner_are_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("age,name\n3,0\n4,9\n5,8\n6,1\n")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        found = read_attributes(path, FILES)
    assert found.columns["age"].tolist()[:2] == [3, 6] and np.isnan(found.columns["age"][2:]).all()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"{path}: 2 of 4 images have no row, such as train/dog/2.png; "
        "2 of 4 rows have no image, such as 9"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b\nx,y\n",
            "no column names the images, such as a/0.png; the columns are a, b; --data",
        ),
        ("a,b\n0.png,1\n", "0.png names several images: give the path of each$"),
        (
            "a,b\na/0.png,1\na/0,2\nroot/a/0.png,3\n",
            "3 rows for the image a/0.png, allowed",
        ),
        ("a\na/0.png\n", "needs a column of file names, one of values, and rows$"),
        ("", "table.csv: "),
        (
            "a,age\na/0.png,1\nb/0.png,-inf\n",
            "table.csv: attribute age: 1 of 2 values are infinite",
        ),
        ("a,a\na/0.png,1\n", "its header has a duplicate column"),
        ("file,a, a\na/0.png,1,2\n", "its header has a duplicate column"),
    ],
)
def test_wrong_tables_are_one_clear_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_attributes(tmp_path / "table.csv", ["a/0.png", "b/0.png"])
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file.*\(--data\.attributes\)"):
        read_attributes(tmp_path / "none.csv", FILES)


def test_a_table_joins_the_label_and_may_replace_it(tmp_path: Path) -> None:
    for place, name in enumerate(("a", "b")):
        fill(tmp_path / "root" / name, 6, 10 * place)
    lines = [f"{i},{i / 2},{'even' if i % 2 == 0 else 'odd'}" for i in (*range(6), *range(10, 16))]
    for header, expected in (("image,half,parity", 3), ("image,half,label", 2)):
        (tmp_path / "t.csv").write_text("\n".join([header, *lines]))
        data = ImageFolder(
            str(tmp_path / "root"), image_size=4, attributes=str(tmp_path / "t.csv")
        )
        train: Split = data.split("train")
        assert len(train.attribute_names) == expected
        names = [int(Path(name).stem) for name in train.names]
        table = train.table()
        assert table["half"].tolist() == [number / 2 for number in names]
        parity = ["odd" if number % 2 else "even" for number in names]
        assert list(table.iloc[:, -1] if expected == 3 else table["label"]) == parity


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.nan,
            "not known for all of 3 images: age for 1, hat for 2, such as b; state them for all "
            "images, or leave such images out: add age hat to --data.known$",
        ),
        (np.inf, "attribute age: 1 of 3 values are infinite, or too large .*allowed are finite"),
    ],
)
def test_an_attribute_that_is_not_a_number_everywhere_is_no_input(
    value: float, message: str
) -> None:
    table = np.array([[1, 1, 0], [value, np.nan, 0], [2, np.nan, 0]])
    split = Split(np.zeros((3, 1, 2, 2), np.uint8), "abc", table, ("age", "hat", "fur"))
    with pytest.raises(InputError, match=message):
        Batches(split, 1, seed=0, attributes=["age", "hat", "fur"])


@pytest.mark.parametrize(
    ("name", "shown"),
    [("agee", " agee (did you mean age?); known are age, hat"), ("x", " x; known are age, hat")],
)
def test_an_attribute_that_there_is_not_names_the_closest(name: str, shown: str) -> None:
    images = np.zeros((1, 1, 2, 2), np.uint8)
    split = Split(images, "a", np.zeros((1, 2)), ("age", "hat"))
    with pytest.raises(InputError, match=f"^the images have no attribute{re.escape(shown)}$"):
        split.places(["hat", name])
    bare = Split(images, "a", np.zeros((1, 0)))
    with pytest.raises(InputError, match="no attribute age; they have none$"):
        bare.places(["age"])
    with pytest.raises(InputError, match="^the images have no attributes; needed are age$"):
        Batches(images, 1, seed=0, attributes=["age"])


def known_names(data: ImageData) -> dict[str, list[str]]:
    return {split: list(data.split(split).names) for split in SPLITS}


def test_images_without_attributes_are_left_out_of_all_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place, folder in enumerate((".", "a", "b")):
        fill(tmp_path / "root" / folder, 20, 20 * place)
    ages = {i: "" if i % 3 == 0 else str(i) for i in range(0, 60, 2)}
    lines = [f"{i},{age}" for i, age in ages.items()]
    (tmp_path / "t.csv").write_text("\n".join(["image,age", *lines]))
    how = {"image_size": 4, "attributes": str(tmp_path / "t.csv"), "cache_dir": str(tmp_path)}
    root = str(tmp_path / "root")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        whole = known_names(ImageFolder(root, **how))
    assert "20 of 60 images are in no class folder, so their label is unknown" in caplog.text
    stored = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("images.npy")}
    known = {"age": set(filter(None, (ages[i] and str(i) for i in ages)))}
    known["label"] = {str(i) for i in range(20, 60)}
    for names in ("age", "label", ["label", "age"]):
        data = ImageFolder(root, known=names, **how)
        both = set.intersection(*(known[name] for name in listed("known", names)))
        expected = {
            split: [own for own in every if Path(own).stem in both]
            for split, every in whole.items()
        }
        assert known_names(data) == expected
        for split, every in expected.items():
            found = data.split(split)
            assert len(found.images) == len(every) == len(whole[split]) - data.left_out[split]
            assert [int(image[0, 0, 0]) for image in found.images] == [
                int(Path(own).stem) for own in every
            ]
            assert not np.isnan(found.attributes[:, found.places(listed("known", names))]).any()
    assert stored == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("images.npy")}


def test_only_known_labels_of_arrays_and_datasets() -> None:
    images = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    labels = np.where(np.arange(60) % 5 == 0, np.nan, np.arange(60) % 2).astype(np.float32)
    items = [(torch.from_numpy(image), label) for image, label in zip(images, labels, strict=True)]
    for data in (
        ArrayData(images, labels=labels, known="label"),
        TorchDataset(items, known=["label"]),
    ):
        assert sum(len(data.split(name)) for name in SPLITS) == 48
        assert sum(data.left_out.values()) == 12
        for split in map(data.split, SPLITS):
            assert (split.images[:, 0, 0, 0] % 5).all()


def test_null_names_no_attribute() -> None:
    none: Any = None
    images = np.zeros((10, 1, 4, 4), np.uint8)
    data = ArrayData(images, known=none, factors=none, show=none)
    assert data.known == data.factors == () and data.show == () and len(data.split("train")) == 8


@pytest.mark.parametrize(
    ("known", "got"), [(1, "int"), ([1], "int"), ([None], "NoneType"), (str, "the class str")]
)
def test_what_is_no_name_is_refused(known: Any, got: str) -> None:
    message = f"^known must be of the kind .*, got {got}; it is the name of an attribute, such as"
    with pytest.raises(TypeError, match=message):
        ImageFolder("photos", known=known)


def test_own_images_may_name_their_factors(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for row in range(10):
        Image.new("L", (4, 4), row).save(folder / f"{row}.png")
    frame = pd.DataFrame({"file": [f"{row}.png" for row in range(10)], "x": range(10)})
    frame.to_csv(tmp_path / "table.csv", index=False)
    images = np.arange(160, dtype=np.uint8).reshape(10, 1, 4, 4)

    def made(names: Any) -> list[ImageData]:
        table, cache = str(tmp_path / "table.csv"), str(tmp_path / "cache")
        how: dict[str, Any] = {"factors": names, "cache_dir": cache}
        return [
            ImageFolder(str(folder), 4, attributes=table, **how),
            ArrayData(images, attributes=frame[["x"]], **how),
        ]

    for data, wrong in zip(made("x"), made(["x", "y"]), strict=True):
        assert data.factors == ("x",) and data.split("train").attribute_names == ("x",)
        with pytest.raises(InputError, match=r"^the images have no attribute y; known are x$"):
            wrong.split("train")


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (["agee"], r"no attribute agee \(did you mean age\?\)"),
        (["age"], "^--data.known age: none of the 8 images of the split train has all of these$"),
    ],
)
def test_what_cannot_be_known_is_one_line(known: list[str], message: str) -> None:
    table = {"age": np.full(10, np.nan), "hat": np.zeros(10)}
    data = ArrayData(np.zeros((10, 1, 4, 4), np.uint8), attributes=table, known=known)
    with pytest.raises(InputError, match=message):
        data.split("train")


def test_the_index_that_pandas_writes_is_no_attribute(tmp_path: Path) -> None:
    files = [f"{name}.png" for name in "abcd"]
    frame = pd.DataFrame({"file": files, "age": [1, 2, 3, 4]})
    frame.to_csv(tmp_path / "t.csv")
    assert [*read_attributes(tmp_path / "t.csv", files).columns] == ["age"]
    frame.set_index("file").rename_axis(None).to_csv(tmp_path / "u.csv")
    assert [*read_attributes(tmp_path / "u.csv", files).columns] == ["age"]


def test_digits_with_underscores_are_names() -> None:
    """Python reads 2020_01 as a number; a table means a month."""
    column = of_texts("month", np.array(["2020_01", "2020_02", "2020_01"]))
    assert column.value_names == {"month": ("2020_01", "2020_02")}
    numbers = of_texts("age", np.array(["7", " 8 ", "1e1", "-0.5", "", "nan"]))
    assert numbers.columns["age"][:4].tolist() == [7, 8, 10, -0.5] and not numbers.value_names
