from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pandas import NA, Categorical, DataFrame, Series

from pyrovae import VAE, ArrayData
from pyrovae.data import SPLITS
from pyrovae.data.loader import Batches
from pyrovae.data.rows import Rows
from pyrovae.utils.errors import InputError
from tests.support.resident import most_resident

h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (60, 5, 8, 9), dtype=np.uint8)
LABELS = np.arange(60) % 3


def rows_of(data: ArrayData, whole: np.ndarray) -> dict[str, list[int]]:
    """The places of a data set's images in the array that it was made from."""
    keys = {image.tobytes(): row for row, image in enumerate(np.ascontiguousarray(whole))}
    return {
        name: [keys[np.ascontiguousarray(image).tobytes()] for image in data.split(name).images]
        for name in SPLITS
    }


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "float", "tensor"])
def test_every_image_is_in_one_split_as_it_was(last: bool, kind: str) -> None:
    images: Any = GREY.transpose(0, 2, 3, 1) if last else GREY
    if kind == "float":
        images = (images / 255).astype(np.float32)
    elif kind == "tensor":
        images = torch.from_numpy(images.copy())
    data = ArrayData(images, LABELS)
    assert data.image_shape == (5, 8, 9)
    rows = rows_of(data, GREY)
    assert sorted(sum(rows.values(), [])) == list(range(60))
    assert {name: len(own) for name, own in rows.items()} == {"train": 48, "val": 6, "test": 6}
    for name, own in rows.items():
        split = data.split(name)
        assert split.attribute_names == ("label",)
        assert split.attributes[:, 0].tolist() == LABELS[own].tolist()
        assert split.names == [f"train/{row:06d}" for row in own]


def test_grey_images_need_no_axis_of_channels() -> None:
    data = ArrayData(GREY[:, 0])
    assert data.image_shape == (1, 8, 9) and data.split("val").images.shape == (6, 1, 8, 9)


def test_a_division_is_stratified_and_depends_on_the_seed_only() -> None:
    labels = np.array([0] * 50 + [1] * 10)
    first, again, other = (ArrayData(GREY, labels, seed=seed) for seed in (0, 0, 1))
    assert rows_of(first, GREY) == rows_of(again, GREY) != rows_of(other, GREY)
    for data in (first, other):
        assert [sum(data.split(name).attributes[:, 0]) for name in ("val", "test")] == [1, 1]


def test_every_split_gets_an_image() -> None:
    data = ArrayData(GREY[:3], val_fraction=0.01, test_fraction=0.01)
    assert [len(data.split(name)) for name in SPLITS] == [1, 1, 1]
    with pytest.raises(InputError, match="2 images are too few for one in each split"):
        ArrayData(GREY[:2]).split("train")


def test_given_splits_stay_and_the_missing_one_is_divided_off() -> None:
    data = ArrayData(
        {"train": GREY[:40], "test": GREY[40:]}, {"train": LABELS[:40], "test": LABELS[40:]}
    )
    rows = rows_of(data, GREY)
    assert rows["test"] == list(range(40, 60)) and len(rows["val"]) == 4
    assert sorted(rows["train"] + rows["val"]) == list(range(40))


def test_texts_are_labels_of_the_same_number_in_all_splits() -> None:
    labels = {"train": ["b", "a"] * 20, "test": ["c"] * 20}
    data = ArrayData({"train": GREY[:40], "test": GREY[40:]}, labels)
    assert data.label_names == ("a", "b", "c")
    assert set(data.split("test").attributes[:, 0]) == {2.0}


@pytest.mark.parametrize("unknown", [None, np.nan, NA])
@pytest.mark.parametrize("kind", [list, Categorical, Series, lambda own: np.array(own, object)])
def test_labels_that_are_not_known_are_no_class(unknown: Any, kind: Any) -> None:
    split = ArrayData(GREY, kind(["dog", "cat", unknown] * 20)).split("train")
    rows = [int(name[-6:]) % 3 for name in split.names]
    expected = [[1, 0, np.nan][row] for row in rows]
    np.testing.assert_array_equal(split.attributes[:, 0], expected)
    assert split.value_names == {"label": ("cat", "dog")}
    assert [*split.table()["label"].isna()] == [row == 2 for row in rows]


@pytest.mark.parametrize("labels", [[7, None, 3], [None, None, None]])
def test_numbers_stay_numbers_among_labels_that_are_not_known(labels: list[Any]) -> None:
    split = ArrayData(GREY, labels * 20).split("train")
    rows = [int(name[-6:]) % 3 for name in split.names]
    np.testing.assert_array_equal(split.attributes[:, 0], np.array(labels, np.float32)[rows])
    assert not split.value_names


def test_texts_are_attributes_of_the_same_number_in_all_splits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = DataFrame(
        {
            "kind": ["b", "a", None] * 20,
            "tame": [True, None, False] * 20,
            "size": ["1.5", "n/a", "2"] * 20,
            "uid": [f"{row:x}" for row in range(1000, 1060)],
        },
        index=range(60, 0, -1),
    )
    parts = {"train": table[:40], "test": table[40:].assign(kind="c")}
    data = ArrayData({"train": GREY[:40], "test": GREY[40:]}, attributes=parts)
    train, test = data.split("train"), data.split("test")
    assert train.attribute_names == test.attribute_names == ("kind", "tame", "size")
    assert train.value_names == test.value_names == {"kind": ("a", "b", "c")}
    expected = np.array([[1, 1, 1.5], [0, np.nan, np.nan], [np.nan, 0, 2]])
    rows = [int(name[-6:]) % 3 for name in train.names]
    np.testing.assert_array_equal(train.attributes, expected[rows])
    assert {*test.table()["kind"]} == {"c"}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "attributes: columns without numbers or repeated texts are left out: uid"


def test_a_series_is_an_attribute_of_its_name() -> None:
    for given, names in ((Series(LABELS, name="age"), ()), (Series(LABELS), ("age",))):
        split = ArrayData(GREY, attributes=given, attribute_names=names).split("val")
        assert split.attribute_names == ("age",) and split.attributes.shape == (6, 1)


def test_names_without_images_are_told(caplog: pytest.LogCaptureFixture) -> None:
    ArrayData(GREY, LABELS, label_names="abc").split("val")
    assert not caplog.text
    split = ArrayData(GREY, np.where(LABELS, LABELS, -1), label_names="abcde").split("train")
    assert split.table()["label"].isna().sum() == 16
    assert "label_names: 5 names, but the highest label of the training images is 2" in caplog.text
    assert "no image has the label d, e" in caplog.text


def test_attributes_have_names() -> None:
    columns = {"size": RNG.random(60), "age": np.arange(60)}
    split = ArrayData(GREY, LABELS, columns).split("train")
    assert split.attribute_names == ("label", "size", "age")
    rows = split.attributes[:, 2].astype(int)
    np.testing.assert_allclose(split.attributes[:, 1], columns["size"][rows], rtol=1e-6)
    named = ArrayData(GREY, attributes=RNG.random((60, 2)), attribute_names=("a", "b"))
    assert named.split("val").attribute_names == ("a", "b")


def write(folder: Path, images: np.ndarray) -> list[dict[str, Any]]:
    """Writes images in each format; returns the arguments that read them."""
    np.save(folder / "a.npy", images)
    np.savez(folder / "a.npz", x=images, y=LABELS)
    np.savez_compressed(
        folder / "splits.npz", x_train=images[:50], x_val=images[50:55], x_test=images[55:]
    )
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"], file["y"] = images, LABELS
        file.create_dataset(
            "deep/x", data=images, chunks=(7, *images.shape[1:]), compression="gzip"
        )
    return [
        {"path": str(folder / "a.npy")},
        {"path": str(folder / "a.npz"), "label_key": "y"},
        {"path": str(folder / "splits.npz"), "key": "x_{}"},
        {"path": str(folder / "a.h5"), "key": "x", "label_key": "y"},
        {"path": str(folder / "a.h5"), "key": "deep/x"},
    ]


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_files_hold_the_same_images_as_arrays(tmp_path: Path, kind: str) -> None:
    white = None if kind == "uint8" else 2550
    images = GREY if kind == "uint8" else GREY.astype(np.uint16) * 10
    for given in write(tmp_path, images):
        data = ArrayData(**given, white=white)
        rows = rows_of(data, GREY)
        assert sorted(sum(rows.values(), [])) == list(range(60)), given
        if "label_key" in given:
            assert data.split("val").attributes[:, 0].tolist() == LABELS[rows["val"]].tolist()
        if given.get("key") == "x_{}":
            assert rows["val"] == list(range(50, 55))


def test_a_mapped_file_is_neither_copied_nor_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.data.rows._COPIED_BYTES", 100)
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "cache"))
    for images, name in ((GREY, "first.npy"), (GREY.transpose(0, 2, 3, 1), "last.npy")):
        np.save(tmp_path / name, images)
        split = ArrayData(path=str(tmp_path / name)).split("train")
        stored = split.images
        assert isinstance(stored, Rows)
        base: Any = stored.images
        while base is not None and not isinstance(base, np.memmap):
            base = base.base
        assert base is not None
        expected = np.array(stored)
        (batch,) = Batches(split, 48, seed=0, shuffle=False).epoch(0)
        np.testing.assert_array_equal(batch.numpy(), expected)
        assert sorted(int(n[-6:]) for n in split.names) == [int(n[-6:]) for n in split.names]
    assert not (tmp_path / "cache").exists()


def test_an_array_in_memory_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.data.rows._COPIED_BYTES", 100)
    tensor = torch.from_numpy(GREY.copy())
    for images in (GREY, GREY.transpose(0, 2, 3, 1), tensor):
        for name in SPLITS:
            stored: Any = ArrayData(images).split(name).images
            assert np.shares_memory(stored.images, np.asarray(images))
    given: Any = ArrayData({"train": GREY, "val": GREY[:9]}).split("val").images
    assert np.shares_memory(given, GREY)


def test_without_h5py_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GREY)
    monkeypatch.setitem(sys.modules, "h5py", None)
    message = r"a\.h5: h5py is not installed; pip install 'pyrovae\[hdf5\]'$"
    with pytest.raises(InputError, match=message):
        ArrayData(path=str(tmp_path / "a.h5"))


def test_auto_uses_quantiles_of_the_training_split_only() -> None:
    images = np.zeros((60, 20, 20), np.uint16)
    images[:] = np.arange(400).reshape(20, 20) + 1000
    probe = ArrayData(images, black="auto", white="auto")
    held_out = [int(name[-6:]) for part in ("val", "test") for name in probe.split(part).names]
    assert probe.found()["black"] == 1000 and probe.found()["white"] == 1399
    images[held_out] = 9999
    data = ArrayData(images, black="auto", white="auto")
    assert data.found() | {"images": 0} == probe.found() | {"images": 0}
    assert data.split("test").images.min() == 255
    assert data.preprocess(images[0]).tobytes() in {
        image.tobytes() for image in data.split("train").images
    }


def test_preprocess_maps_one_image_by_the_rule_of_the_data() -> None:
    data = ArrayData(GREY.astype(np.float32) * 10 - 100, black=-100, white=2450)
    image = GREY[7].astype(np.float32) * 10 - 100
    for given in (image, image.transpose(1, 2, 0), torch.from_numpy(image)):
        np.testing.assert_array_equal(data.preprocess(given), GREY[7])
    assert data.preprocess(np.zeros((5, 16, 18), np.float32)).shape == (5, 8, 9)


def test_a_stack_of_raw_images_is_prepared_one_by_one() -> None:
    raw = GREY[:, 0].astype(np.uint16) * 100 + 300
    data = ArrayData(raw, black="auto", white="auto")
    vae, split = VAE.for_images(data, 2), data.split("test")
    new = raw[[int(name[-6:]) for name in split.names]]
    for image in (new, torch.from_numpy(new)):
        prepared = torch.stack([vae.preprocess(own) for own in image])  # type: ignore[arg-type]
        np.testing.assert_array_equal(prepared.numpy(), split.images)
    with pytest.raises(
        ValueError, match=r"got torch.uint16; .*stack\(\[vae.preprocess\(image\) for"
    ):
        vae.encode(torch.from_numpy(new))
    for stack in (new, new[:, None]):
        with pytest.raises(
            InputError, match=r"; np.stack\(\[data.preprocess\(image\) for .*several"
        ):
            vae.preprocess(stack)  # type: ignore[arg-type]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda own: pickle.loads(pickle.dumps(own))])
@pytest.mark.parametrize("kind", ["memory", "npy", "npz", "h5"])
def test_a_copy_has_the_same_splits(tmp_path: Path, kind: str, copied: Any) -> None:
    images = torch.from_numpy(GREY / 255)
    given: dict[str, Any] = {"images": images, "labels": ["a", "b", None] * 20}
    if kind != "memory":
        write(tmp_path, GREY)
        key = {"npy": None, "npz": "x", "h5": "deep/x"}[kind]
        given = {"path": str(tmp_path / f"a.{kind}"), "key": key}
    data = ArrayData(**given, seed=3)
    for again in (copied(data), copied(VAE.for_images(data, 2)).data):
        for name in SPLITS:
            first, second = data.split(name), again.split(name)
            np.testing.assert_array_equal(first.images, second.images)
            np.testing.assert_array_equal(first.attributes, second.attributes)
            assert first.names == second.names and first.value_names == second.value_names


def test_few_grey_values_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    ArrayData(GREY // 100).split("train")
    assert "use only 3 of 256 grey levels, from 0 to 2; --data.black" in caplog.text
    caplog.clear()
    ArrayData(GREY).split("train")
    ArrayData(GREY // 128 * 255).split("train")
    assert not caplog.text


HOLES = np.where(GREY == GREY[7, 0, 0, 0], np.nan, GREY / 255)


@pytest.mark.parametrize("nan", [0, 7, 255])
def test_nan_has_a_grey_value_of_its_own(nan: int, tmp_path: Path) -> None:
    np.save(tmp_path / "holes.npy", HOLES)
    for data in (ArrayData(HOLES, nan=nan), ArrayData(path=str(tmp_path / "holes.npy"), nan=nan)):
        images = data.split("train").images
        rows = [int(name[-6:]) for name in data.split("train").names]
        missing = np.isnan(HOLES[rows])
        assert missing.any() and ((images == nan) == missing).all()
        change = np.abs(images.astype(float) - GREY[rows])[~missing]
        assert ((change == 0) | ((GREY[rows][~missing] == nan) & (change == 1))).all()
        assert np.array_equal(data.preprocess(HOLES[rows[0]]), images[0])


def test_the_value_range_is_that_of_known_values() -> None:
    data = ArrayData(HOLES, nan=0, black="auto", white="auto")
    known = HOLES[~np.isnan(HOLES)]
    assert known.min() <= data.levels.black < data.levels.white <= known.max()


BAD = {
    "NaN": (
        dict(images=HOLES),
        "image [0-9]+: holds NaN; .*--data.nan 0 with --likelihood Masked",
    ),
    "grey value of NaN": (dict(images=HOLES, nan=256), "^nan 256: allowed are grey values, 0 to"),
    "range": (dict(images=GREY / 25.5), "values of float64 from 0 to .*give black and white"),
    "type": (dict(images=GREY.astype(np.uint16)), "values of uint16 .*allowed are uint8, and"),
    "complex": (dict(images=GREY.astype(complex)), "images of type complex128"),
    "texts": (dict(images=GREY.astype(str)), "images of type <U3"),
    "shape": (dict(images=GREY.reshape(60, -1)), r"images of shape \(60, 360\): allowed are"),
    "empty": (dict(images=GREY[:0]), r"images of shape \(0, 5, 8, 9\): allowed are"),
    "layout": (dict(images=GREY[:, :, :5, :5]), "channels may be first or last; give channels_"),
    "labels": (dict(images=GREY, labels=LABELS[1:]), r"labels of shape \(59,\): allowed are 60"),
    "splits": (dict(images=GREY, labels={"train": LABELS, "val": LABELS}), "labels of train, val"),
    "attributes": (
        dict(attributes={"a": LABELS[1:]}),
        r"attribute a of shape \(59,\): allowed are",
    ),
    "number": (dict(attributes={"a": 1}), r"attribute a of shape \(\): allowed are 60, one per"),
    "vector": (
        dict(attributes=LABELS),
        r"attributes of shape \(60,\): allowed are \(N, A\), a row",
    ),
    "series": (dict(attributes=Series(LABELS)), "a Series without a name; allowed are .*rename"),
    "no column": (dict(attributes=DataFrame()), "attributes: no columns; allowed are one or more"),
    "nothing": (dict(attributes={}), "attributes: no columns; allowed are one or more"),
    "dates": (
        dict(attributes={"born": np.zeros(60, "datetime64[D]")}),
        "attribute born: values of the type date; allowed are numbers and texts",
    ),
    "objects": (
        dict(attributes={"a": [{}] * 60}),
        "attribute a: values of the type dict; allowed",
    ),
    "infinite": (
        dict(attributes={"a": np.where(LABELS, 1, np.inf)}),
        "attribute a: 20 of 60 values are infinite, or too large for float32; allowed are finite",
    ),
    "too large": (
        dict(attributes={"a": [1e39] * 60}),
        "attribute a: 60 of 60 values are infinite",
    ),
    "infinite label": (
        dict(labels=LABELS + np.inf),
        "attribute label: 60 of 60 values are infinite",
    ),
    "names": (
        dict(attributes=RNG.random((60, 2)), attribute_names="abc"),
        "attribute_names a, b, c: 3 names, but the attributes have 2 columns",
    ),
    "same names": (
        dict(attributes=RNG.random((60, 2)), attribute_names=("a", "a")),
        "several columns have the name a; allowed are names that differ",
    ),
    "same columns": (
        dict(attributes=DataFrame(RNG.random((60, 3)), columns=["a", "b", "a"])),
        "several columns have the name a; allowed are names that differ",
    ),
    "second label": (
        dict(labels=LABELS, attributes={"label": LABELS}),
        "several columns have the name label; allowed are .*and from label where labels are given",
    ),
    "few label names": (
        dict(labels=LABELS, label_names=["a", "b"]),
        "label_names a, b: 2 names, but the labels are from 0 to 2; allowed is one name for each",
    ),
    "named halves": (
        dict(labels=LABELS / 2, label_names="ab"),
        "the labels are from 0 to 1; allo",
    ),
    "many label names": (
        dict(labels=["x", "y"] * 30, label_names="abc"),
        "label_names a, b, c: 3 names, but the labels are the 2 texts x, y; allowed is one name",
    ),
    "swapped label names": (
        dict(labels=["x", "y"] * 30, label_names="yx"),
        "label_names y, x: .*the 2 texts x, y; allowed is one name for each, in this order",
    ),
    "black": (dict(images=GREY, black=9, white=4), "black 9, white 4: black must be below white"),
    "only black": (dict(images=GREY, black=9), "black 9: needs white too"),
    "constant": (dict(images=GREY * 0, black="auto", white="auto"), "black 0, white 0: black"),
    "both": (dict(images=GREY, path="a.npy"), "images and path are both given"),
    "none": (dict(images=None), r"ArrayData needs a file .*, or in Python ArrayData\(images\)"),
    "text": (dict(images="a.npy"), "--data.path names a file"),
    "path": (dict(images=Path("a.npy")), "--data.path names a file, .* got 'a.npy'"),
    "no file": (dict(path="/nowhere/a.npy"), "--data.path /nowhere/a.npy: no such file"),
    "other shape": (dict(images=GREY, image_shape=(5, 8, 8)), r"the images are \(5, 8, 9\)"),
    "no train": (dict(images={"test": GREY}), "images of test: allowed are train"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    given, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        ArrayData(**({} if {"images", "path"} & {*given} else {"images": GREY}) | given).split(
            "train"
        )
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, GREY)
    np.save(
        tmp_path / "nan.npy", np.where(np.arange(60)[:, None, None] == 3, np.nan, GREY[:, 0] / 255)
    )
    np.save(tmp_path / "objects.npy", np.array([{}, 1], object), allow_pickle=True)
    np.save(tmp_path / "vector.npy", GREY[:, 0, 0, 0])
    np.save(tmp_path / "complex.npy", GREY.astype(complex))
    for name in ("b.npy", "b.npz", "b.h5", "b.txt"):
        (tmp_path / name).write_text("no array")
    for name, key, message in (
        ("nan.npy", None, "nan.npy: image 3: holds NaN; allowed are finite values; --data.nan 0"),
        ("objects.npy", None, "objects.npy: cannot be read: not an array of numbers"),
        ("b.npy", None, "b.npy: cannot be read: not an array of numbers"),
        ("b.npz", None, "b.npz: cannot be read: File is not a zip file"),
        ("b.h5", None, "b.h5: cannot be read: "),
        ("b.txt", None, "b.txt: allowed are files .npy, .npz, .h5"),
        ("vector.npy", None, r"^--data.path .*vector.npy: images of shape \(60,\): allowed are"),
        ("complex.npy", None, "^--data.path .*complex.npy: images of type complex128: allowed"),
        ("a.npy", "x", "--data.key x: .* its only array has no name"),
        ("a.npz", None, "--data.key: .*a.npz holds the arrays x, y; name one"),
        ("a.npz", "z", "--data.key z: .* its arrays are x, y"),
        ("splits.npz", "z_{}", "--data.key z_train: .* its arrays are x_train"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            ArrayData(path=str(tmp_path / name), key=key).split("train")
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_mapped_file_passes_through_bounded_memory(tmp_path: Path) -> None:
    """A gigabyte with the channels last; a copy of it, or pages that stay, would be resident."""
    before = "from pyrovae.data import ArrayData, Batches"
    loop = "for _ in Batches(ArrayData(path=path).split('train'), 128, seed=0).epoch(0):"
    assert 0 < most_resident(tmp_path / "a.npy", (85_000, 64, 64, 3), before, loop) < 400


def test_values_under_a_mask_are_unknown() -> None:
    hidden = np.arange(60) % 4 == 0
    columns = {
        "age": np.ma.masked_array(np.arange(60.0), hidden),
        "count": np.ma.masked_array(np.arange(60), hidden),
        "kind": np.ma.masked_array(np.array(["a", "b", "c"] * 20), hidden),
    }
    labels = np.ma.masked_array(LABELS, hidden)
    data = ArrayData(GREY, labels, columns, val_fraction=0, test_fraction=0)
    table = data.split("train").table()
    assert (table.isna().sum() == hidden.sum()).all() and len(table.columns) == 4
    assert sorted(table["kind"].dropna().unique()) == ["a", "b", "c"]
    with pytest.raises(InputError, match="^images: 3 values are masked; allowed are finite"):
        ArrayData(np.ma.masked_array(GREY, np.arange(GREY.size).reshape(GREY.shape) < 3))
    plain = ArrayData(np.ma.masked_array(GREY, False))
    assert np.array_equal(plain.split("train").images, ArrayData(GREY).split("train").images)


def test_a_table_has_the_attributes_of_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    kinds = np.array(["elliptical", "spiral"] * 30)
    frame = DataFrame({"redshift": np.where(LABELS, np.arange(60) / 60, np.nan), "kind": kinds})
    frame.to_csv(tmp_path / "a.csv", index=False)
    how: dict[str, Any] = {"path": str(tmp_path / "a.npy"), "cache_dir": str(tmp_path / "cache")}
    data = ArrayData(table=str(tmp_path / "a.csv"), **how)
    expected = ArrayData(GREY, attributes=frame)
    for name in SPLITS:
        own, other = data.split(name), expected.split(name)
        assert own.value_names == other.value_names and "kind" in own.value_names
        assert np.array_equal(own.attributes, other.attributes, equal_nan=True)
    for wrong, said in (
        ({"table": str(tmp_path / "b.csv")}, r"b.csv: no such file .*\(--data.table\)$"),
        ({"table": "x", "attributes": frame}, "attributes and table are both given"),
    ):
        with pytest.raises(InputError, match=said):
            ArrayData(**{**how, **wrong}).split("train")
    frame[:50].to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"redshift of shape \(50,\): allowed are 60"):
        ArrayData(table=str(tmp_path / "a.csv"), **how).split("train")


@pytest.mark.parametrize("stored", [False, True])
def test_a_value_that_is_not_finite_is_of_the_split_where_the_range_is_automatic(
    stored: bool, tmp_path: Path
) -> None:
    images = GREY.astype(np.float32)
    images[3, 0, 0, 0] = np.inf
    given: Any = images
    how: dict[str, Any] = {}
    if stored:
        np.save(tmp_path / "a.npy", images)
        given, how = None, {"path": str(tmp_path / "a.npy"), "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(InputError, match="^auto: the training split holds NaN or an infinite"):
        ArrayData(given, black="auto", white="auto", **how).split("train")
    with pytest.raises(InputError, match="image 3: holds an infinite value"):
        ArrayData(given, black=0, white=255, **how).split("train")
