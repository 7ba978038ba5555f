"""The second data set of an inspection: a folder, a run, a class; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae import ArrayData, ImageFolder, InputError
from pyrovae.config.second_data import divided_options, second_data
from tests.support.commands import refusal, run
from tests.support.small import small_data


def pictures(folder: Path, count: int, mode: str = "RGB") -> Path:
    folder.mkdir(exist_ok=True)
    for place in range(count):
        Image.new(mode, (20 + place, 30), "red").save(folder / f"{place:03}.png")
    return folder


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_folder_is_prepared_as_the_images_of_the_run(mode: str, tmp_path: Path) -> None:
    folder, data = pictures(tmp_path / "others", 25, mode), small_data()
    (folder / "003.png").write_bytes(b"broken")
    found, complaints = second_data(str(folder), [], data)
    assert found.images.shape == (24, 3, 16, 16) and found.images.dtype == np.uint8
    assert found.names[:4] == ["000.png", "001.png", "002.png", "004.png"]
    assert np.array_equal(found.images[5], data.preprocess(folder / "006.png"))
    assert len(complaints) == 1 and "003.png" in complaints[0]


def test_a_class_takes_arguments_and_is_converted() -> None:
    rest, inner = divided_options(["--against", "SyntheticFaces", "--against.num_test=30", "-x"])
    assert rest == ["--against", "SyntheticFaces"] and inner == ["--data.num_test=30", "-x"]
    options = [*inner[:1], "--data.num_train", "10", "--data.num_val", "10"]
    found, _ = second_data("SyntheticFaces", [*options, "--data.image_size=24"], small_data())
    assert found.images.shape == (30, 3, 16, 16)
    grey = ArrayData(np.zeros((90, 1, 8, 8), np.uint8))
    found, _ = second_data("SyntheticFaces", [*options, "--data.image_size=24"], grey)
    assert found.images.shape == (30, 1, 8, 8)


def test_images_of_another_data_set_keep_their_grey_values(tmp_path: Path) -> None:
    """The value range and the crop of the run are of its files, not of prepared images."""
    np.save(path := tmp_path / "x.npy", np.full((50, 16, 16, 1), 200, np.uint8))
    deep = np.arange(40 * 64).reshape(40, 1, 8, 8).astype(np.uint16)
    found, _ = second_data(str(path), [], ArrayData(deep, black=0, white=4000))
    assert found.images.shape == (40, 1, 8, 8) and (found.images == 200).all()
    photos = pictures(tmp_path / "photos", 30)
    found, _ = second_data(str(path), [], ImageFolder(str(photos), 8, 1, crop=20))
    assert (found.images == 200).all()


def test_an_array_in_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    np.save(path := tmp_path / "x.npy", np.full((50, 16, 16, 3), 9, np.uint8))
    found, unread = second_data(str(path), [], small_data())
    assert found.images.shape == (40, 3, 16, 16) and not unread and (found.images == 9).all()
    found, _ = second_data(str(path), ["--data.test_fraction=0.5"], small_data())
    assert len(found) == 25


def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path: Path) -> None:
    (file := tmp_path / "notes.txt").write_text("")
    (empty := tmp_path / "empty").mkdir()
    (broken := tmp_path / "broken").mkdir()
    (broken / "a.png").write_bytes(b"")
    np.save(wide := tmp_path / "wide.npy", np.zeros((90, 5, 8, 8), np.uint8))
    allowed = "allowed are a folder of images, a run directory, an array"
    for given, inner, message in (
        (str(tmp_path / "gone"), [], f"gone: no such folder; {allowed}"),
        (str(file), [], f"notes.txt: not a file of an array; {allowed}"),
        (str(empty), [], "empty: no images in this folder or its subfolders"),
        (str(broken), [], "broken: no image can be read; the first: "),
        ("StaticMNST", [], "--against: unknown class 'StaticMNST' .did you mean StaticMNIST"),
        ("StaticMNIST", ["--data.limitt=3"], "--against.limitt: no such option"),
        ("ArrayData", [f"--data.path={wide}"], r"\(5, 8, 8\) cannot be converted to \(3, 16, 16"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            second_data(given, inner, small_data())
        assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_run_is_compared_with_a_folder_and_with_a_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = pictures(tmp_path / "others", 30)
    options = [str(trained), "--quick", "--sections", "typical", f"--out={tmp_path / 'report'}"]
    assert run("inspect_posterior", [*options, "--against", str(folder)], monkeypatch) == 0
    assert "images of others against" in capsys.readouterr().out
    assert (tmp_path / "report" / "typical_anomaly_aurocs.csv").exists()
    assert "--against.root: needs --against" in refusal(
        "inspect_posterior", [*options, "--against.root", "x"], monkeypatch, capsys
    )
    few = pictures(tmp_path / "few", 3)
    assert "against: 3 images, allowed is 20 or more" in refusal(
        "inspect_posterior", [*options, "--against", str(few)], monkeypatch, capsys
    )
    found, _ = second_data(str(trained), [], small_data())
    assert len(found) > 0 and found.images.shape[1:] == (3, 16, 16)
