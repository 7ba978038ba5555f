"""Images of one person, or of one scan, stay in one split."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import ArrayData, TorchDataset
from pyrovae.data import SPLITS, ImageData, ImageFolder, Split
from pyrovae.data.rows import spread_rows
from pyrovae.utils.errors import InputError

PEOPLE, PER_PERSON = 30, 4
TABLE = "people.csv"


def person(name: str) -> str:
    return name.split("/")[-1].split("_")[0]


def fill(root: Path, nested: bool, split: str = "") -> None:
    """Images `p3_1.png`, in a folder per person if nested, and a table of them."""
    lines = ["file,person,part"]
    for number in range(PEOPLE):
        for place in range(PER_PERSON):
            name = f"p{number}_{place}.png"
            folder = root / split / (f"p{number}" if nested else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), number).save(folder / name)
            lines.append(f"{name},p{number},{('Train', 'VAL', 'test', 'train')[number % 4]}")
    (root / TABLE).write_text("\n".join(lines))


def stack(root: Path) -> None:
    """A TIFF stack per person."""
    root.mkdir()
    for number in range(PEOPLE):
        pages = [Image.new("L", (8, 8), number) for _ in range(PER_PERSON)]
        pages[0].save(root / f"p{number}_all.tif", save_all=True, append_images=pages[1:])


def folder(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(str(root), image_size=8, channels=1, **options)


def people(data: ImageData) -> dict[str, list[str]]:
    """The person of each image, by split."""
    return {split: [person(str(n)) for n in data.split(split).names] for split in SPLITS}


def nested(root: Path) -> ImageFolder:
    fill(root, nested=True)
    return folder(root, group_by="folder")


def flat(root: Path) -> ImageFolder:
    fill(root, nested=False)
    return folder(root, group_by="person", attributes=str(root / TABLE))


def stacks(root: Path) -> ImageFolder:
    stack(root / "stacks")
    return folder(root / "stacks", group_by="file")


@pytest.mark.parametrize("make", [nested, flat, stacks])
def test_images_of_a_person_are_in_one_split(
    make: Callable[[Path], ImageFolder], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pyrovae"):
        found = people(make(tmp_path))
    assert "several splits" not in caplog.text and "pooled" not in caplog.text
    assert sum(map(len, found.values())) == PEOPLE * PER_PERSON
    assert (
        len(set().union(*found.values())) == PEOPLE == sum(len({*own}) for own in found.values())
    )
    assert all(found.values())


@pytest.mark.parametrize("make", [nested, flat, stacks])
def test_splits_know_the_group_of_each_image(
    make: Callable[[Path], ImageFolder], tmp_path: Path
) -> None:
    data = make(tmp_path)
    for split in map(data.split, SPLITS):
        assert split.groups is not None
        # The groups have other names than the persons, such as those of files.
        pairs = {(person(str(n)), own) for n, own in zip(split.names, split.groups, strict=True)}
        assert len(pairs) == len({*split.groups}) == len({name for name, _ in pairs})
        some = split.take([3, 1])
        assert some.groups is not None and [*some.groups] == [*split.groups[[3, 1]]]


def test_without_groups_splits_have_none(tmp_path: Path) -> None:
    fill(tmp_path, nested=False)
    assert folder(tmp_path).split("test").groups is None
    assert ArrayData(IMAGES).split("test").groups is None


def test_too_few_groups_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for place in range(5):
            Image.new("L", (8, 8)).save(tmp_path / name / f"{place}.png")
    message = (
        r"2 groups \(--data.group_by folder\) cannot be divided into train, test, val; allowed"
    )
    with pytest.raises(InputError, match=message):
        folder(tmp_path, group_by="folder").split("train")
    found = folder(tmp_path, group_by="folder", test_fraction=0)
    assert len(found.split("train")) == 5 == len(found.split("val"))


def test_without_groups_a_person_is_in_several_splits(tmp_path: Path) -> None:
    fill(tmp_path, nested=True)
    found = people(folder(tmp_path))
    assert {*found["train"]} & {*found["test"]}


def test_other_images_do_not_move_a_group(tmp_path: Path) -> None:
    before = people(nested(tmp_path))
    for name in ("p1", "p2"):
        Image.new("L", (8, 8)).save(tmp_path / name / f"{name}_new.png")
    (tmp_path / "q").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "q" / "q_0.png")
    after = people(folder(tmp_path, group_by="folder"))
    assert all({*before[split]} <= {*after[split]} for split in SPLITS)


def test_a_column_names_the_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, nested=True, split="train")
    table = str(tmp_path / TABLE)
    unused = "the column part names splits and is used as an attribute only; --data.split_by part"
    with caplog.at_level(logging.WARNING, "pyrovae"):
        people(folder(tmp_path, attributes=table))
        assert unused in caplog.text
        caplog.clear()
        found = people(folder(tmp_path, split_by="part", attributes=table))
        assert unused not in caplog.text
    assert {*found["val"]} == {f"p{n}" for n in range(PEOPLE) if n % 4 == 1}
    assert {*found["test"]} == {f"p{n}" for n in range(PEOPLE) if n % 4 == 2}


def test_a_column_may_leave_out_images_and_a_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, nested=False)
    table = tmp_path / TABLE
    table.write_text(table.read_text().replace("VAL", "").replace("test", "training"))
    data = folder(tmp_path, split_by="part", group_by="person", attributes=str(table))
    with caplog.at_level(logging.WARNING, "pyrovae"):
        found = people(data)
        assert "32 of 120 images are in no split (--data.split_by part)" in caplog.text
        assert "have no image" not in caplog.text and "have no row" not in caplog.text
    assert sum(map(len, found.values())) == 88
    assert not {*found["train"]} & {*found["val"]} and found["val"]


def test_groups_in_several_given_splits_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, nested=True, split="train")
    (tmp_path / "val/p3").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "val/p3/p3_9.png")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        people(folder(tmp_path, group_by="folder"))
    assert "images of 1 group (--data.group_by folder) are in several splits" in caplog.text
    assert "such as those of p3 (train, val)" in caplog.text


def test_images_without_a_value_are_groups_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, nested=False)
    table = tmp_path / TABLE
    table.write_text(table.read_text().replace("p3_0.png,p3,", "p3_0.png,?,"))
    with caplog.at_level(logging.WARNING, "pyrovae"):
        people(folder(tmp_path, group_by="person", attributes=str(table)))
    said = "1 of 120 images have no value; each forms its own group, such as p3_0"
    assert caplog.text.count(said) == 1


def test_a_table_may_have_one_row_per_stack(tmp_path: Path) -> None:
    stack(tmp_path / "stacks")
    rows = [f"p{n}_all.tif,{n // 2},{('train', 'val', 'test')[n % 3]}" for n in range(PEOPLE)]
    (table := tmp_path / TABLE).write_text("\n".join(["file,family,part", *rows]))
    options = {"attributes": str(table), "group_by": "family"}
    data = folder(tmp_path / "stacks", **options)
    for split in (data.split(name) for name in SPLITS):
        families = [int(person(str(name))[1:]) // 2 for name in split.names]
        assert split.attributes[:, split.places(["family"])[0]].tolist() == families
    found = people(folder(tmp_path / "stacks", attributes=str(table), split_by="part"))
    assert {split: len({*own}) for split, own in found.items()} == dict.fromkeys(SPLITS, 10)


def test_a_given_split_needs_no_rows_and_the_split_column_is_no_attribute(tmp_path: Path) -> None:
    fill(tmp_path, nested=False, split="train")
    (tmp_path / "val").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "val" / "other.png")
    table = str(tmp_path / TABLE)
    assert people(folder(tmp_path, group_by="person", attributes=table))["val"] == ["other.png"]
    data = folder(tmp_path, split_by="part", attributes=table)
    assert data.split("train").attribute_names == ("person",)
    assert "part" in folder(tmp_path, attributes=table).split("train").attribute_names


@pytest.mark.parametrize("of_arrays", [False, True])
def test_a_split_that_is_far_from_its_share_is_named(
    of_arrays: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(6):
        (tmp_path / f"p{number}").mkdir()
        for place in range(30 if number == 0 else 1):
            Image.new("L", (8, 8)).save(tmp_path / f"p{number}/{place}.png")
    groups = [0] * 30 + [1, 2, 3, 4, 5]
    with caplog.at_level(logging.WARNING, "pyrovae"):
        if of_arrays:
            ArrayData(IMAGES[:35], groups=groups).split("train")
        else:
            folder(tmp_path, group_by="folder").split("train")
    assert re.search(
        r"the split (val|test) has \d+% of the images, where its share is 10%", caplog.text
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_by": "person"}, "--data.group_by person: allowed are folder, file, and a col"),
        ({"split_by": "part"}, "--data.split_by part: allowed is a column of the table"),
        (
            {"group_by": "persons", "attributes": TABLE},
            "no column persons; the columns are person",
        ),
        (
            {"split_by": "person", "attributes": TABLE},
            "column person has p0 for p0_0.png; allowed",
        ),
    ],
)
def test_a_column_that_does_not_divide_is_refused(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    fill(tmp_path, nested=False)
    if "attributes" in options:
        options = options | {"attributes": str(tmp_path / TABLE)}
    with pytest.raises(InputError, match=message):
        folder(tmp_path, **options).split("train")


NUMBERS = np.arange(PEOPLE * PER_PERSON) // PER_PERSON
IMAGES = np.repeat(np.repeat(NUMBERS, 64).reshape(-1, 1, 8, 8), 1, 1).astype(np.uint8)


def of_file(path: Path) -> ArrayData:
    np.savez(path / "scans.npz", images=IMAGES, who=NUMBERS)
    return ArrayData(path=str(path / "scans.npz"), group_key="who")


def of_dataset(path: Path) -> TorchDataset:
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(IMAGES))
    return TorchDataset(dataset, groups=NUMBERS, cache_dir=str(path))


@pytest.mark.parametrize(
    "make",
    [
        lambda path: ArrayData(IMAGES, groups=[f"p{n}" for n in NUMBERS]),
        lambda path: ArrayData(IMAGES, labels=NUMBERS % 2, groups=torch.from_numpy(NUMBERS)),
        of_file,
        of_dataset,
    ],
)
def test_groups_of_arrays_are_in_one_split(
    make: Callable[[Path], ImageData], tmp_path: Path
) -> None:
    data = make(tmp_path)
    found = {split: {*data.split(split).images[:, 0, 0, 0].tolist()} for split in SPLITS}
    assert {split: len(own) for split, own in found.items()} == {"train": 24, "val": 3, "test": 3}
    assert len(set().union(*found.values())) == PEOPLE


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (NUMBERS[1:], r"groups of shape \(119,\): allowed are 120, one per image"),
        ([None, *NUMBERS[1:]], "groups: 1 of 120 images have none, such as image 0"),
        (np.zeros(len(NUMBERS)), "1 groups are too few for one in each split of train, test, val"),
    ],
)
def test_groups_that_do_not_fit_the_images_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ArrayData(IMAGES, groups=groups).split("train")


def check_groups(split: Split) -> None:
    """Images of one grey value are one group."""
    assert split.groups is not None
    pairs = {*zip(split.images[:, 0, 0, 0].tolist(), split.groups.tolist(), strict=True)}
    assert len(pairs) == len({*split.groups}) == len({grey for grey, _ in pairs})


@pytest.mark.parametrize("limit", [None, 30])
def test_splits_of_arrays_know_the_group_of_each_image(limit: int | None) -> None:
    data = ArrayData(
        {"train": IMAGES, "test": IMAGES}, groups=[f"p{n}" for n in NUMBERS], limit=limit
    )
    for split in (data.split("train"), data.split("val")):
        check_groups(split)
    assert data.split("test").groups is None  # The groups are those of the first array.


class Damaged(torch.utils.data.Dataset[Any]):
    """Images of which the second of each person cannot be read."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> torch.Tensor:
        if index % PER_PERSON == 1:
            raise OSError("damaged")
        return torch.from_numpy(IMAGES[index])


def test_images_that_are_left_out_do_not_shift_the_groups(tmp_path: Path) -> None:
    data = TorchDataset(
        Damaged(),
        groups=NUMBERS,
        image_shape=(1, 8, 8),
        on_error="skip",
        cache_dir=str(tmp_path),
    )
    for split in map(data.split, SPLITS):
        check_groups(split)


@pytest.mark.parametrize("count", [1, 7, 30, 31, 90, 119, 120, 500, 0])
def test_chosen_images_are_of_as_many_groups_as_possible(count: int) -> None:
    groups = np.random.default_rng(0).permutation(np.arange(PEOPLE * PER_PERSON) % PEOPLE)
    rows = spread_rows(len(groups), count, groups)
    size = min(count or len(groups), len(groups))
    assert len(np.unique(rows)) == len(rows) == size and (np.diff(rows) > 0).all()
    of_each = np.bincount(groups[rows], minlength=PEOPLE)
    assert of_each.max() - of_each.min() <= 1 and of_each.sum() == size


def test_groups_of_different_sizes_are_exhausted_one_by_one() -> None:
    groups = np.array(["a"] * 10 + ["b"] * 2 + ["c"])
    found = [sorted(groups[spread_rows(13, count, groups)]) for count in (3, 5, 7)]
    assert found == [["a", "b", "c"], ["a", "a", "b", "b", "c"], [*"aaaa", "b", "b", "c"]]


def test_independent_images_are_one_per_group() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    groups = np.array([*"aaaabbbbcccd"])
    split = Split(images, [str(i) for i in range(12)], np.zeros((12, 0)), groups=groups)
    found = split.independent()
    assert found.groups is not None and sorted(found.groups) == [*"abcd"]
    assert found.names == split.independent().names  # The same ones each time.
    plain = replace(split, groups=None)
    assert plain.independent() is plain
    assert replace(split, groups=np.arange(12)).independent().names == split.names
    assert sorted(split.spread(4).groups) == [*"abcd"]  # type: ignore[arg-type]


@pytest.mark.parametrize("stored", [False, True])
def test_groups_and_an_automatic_value_range_go_together(stored: bool, tmp_path: Path) -> None:
    """The range is that of the training split, which depends on the groups."""
    images = np.random.default_rng(0).normal(size=(len(NUMBERS), 2, 8, 8)).astype(np.float32)
    place: dict[str, Any] = {"groups": NUMBERS}
    given: Any = images
    if stored:
        np.savez(tmp_path / "a.npz", images=images, person=NUMBERS)
        place = {"path": str(tmp_path / "a.npz"), "key": "images", "group_key": "person"}
        given, place["cache_dir"] = None, str(tmp_path / "cache")
    data = ArrayData(given, black="auto", white="auto", **place)
    train = data.split("train")
    assert train.groups is not None and not {*train.groups} & {*(data.split("test").groups)}  # type: ignore[misc]
    rows = [int(str(name).rpartition("/")[2]) for name in train.names]
    low, high = np.quantile(images[rows], [0.001, 0.999], method="nearest")
    assert data.value_range() == pytest.approx((low, high), rel=0.02)
