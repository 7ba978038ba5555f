"""Attributes that are given to `pyrovae sample` and `pyrovae inpaint`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pyrovae import ConditionalVAE, MLPDecoder, MLPEncoder
from pyrovae.commands.sample import draw, known_attributes, parser
from pyrovae.data import ImageFolder
from pyrovae.utils.errors import InputError
from tests.support.programs import ladder_vae, semi_supervised, two_latents
from tests.support.small import small_data


@pytest.fixture
def photos(tmp_path: Path) -> ImageFolder:
    """Twenty photographs with an age and a gender, of one image unknown."""
    (tmp_path / "photos").mkdir()
    lines = ["image,age,gender"]
    for i in range(20):
        Image.new("L", (8, 8), i).save(tmp_path / f"photos/{i}.png")
        lines.append(f"{i},{i / 2 if i else ''},{('male', 'female')[i % 2] if i else ''}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return ImageFolder(
        str(tmp_path / "photos"), 8, 1, attributes=str(tmp_path / "t.csv"), val_fraction=0.2
    )


def conditional(data: ImageFolder) -> ConditionalVAE:
    how = {"encoder": MLPEncoder, "decoder": MLPDecoder}
    return ConditionalVAE.for_images(data, 2, attributes=["age", "gender"], **how)


def edited(data: ImageFolder, names: list[str], given: list[str]) -> list[list[float]]:
    found = known_attributes(conditional(data), data, names, given)[1]
    assert found is not None
    return found.tolist()


def test_a_class_is_given_by_its_name_or_its_number(photos: ImageFolder) -> None:
    assert edited(photos, [""], ["age=1", "gender=female"]) == [[1, 1]]
    assert edited(photos, [""], ["age=1", "gender=male"]) == [[1, 0]]
    assert edited(photos, [""], ["age=1", "gender=1"]) == [[1, 1]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gender=mal", "(did you mean male?); gender is one of male (0), female (1)"),
        ("gender=x", "--given gender=x: no such class; gender is one of male (0), female (1)"),
        ("gender=2", "gender=2: no such class; gender is one of male (0), female (1)"),
        ("gender=0.5", "gender=0.5: no such class; gender is one of male (0), female (1)"),
        ("age=nan", "--given age=nan: allowed is age and a finite number"),
        ("gender", "--given gender: write gender=VALUE"),
        ("age=old", "--given age=old: allowed is age and a finite number"),
        ("agee=1", "no attribute agee (did you mean age?); allowed are age, gender"),
    ],
)
def test_a_wrong_value_is_one_line(photos: ImageFolder, given: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message) + "$"):
        edited(photos, [""], [given])


@pytest.mark.parametrize(
    ("folders", "values"),
    [
        (["1", "2", "3"], {"1": 0, "2": 1, "3": 2}),
        (["0", "10"], {"0": 0, "10": 1}),
        (["cat", "bird"], {"cat": 0, "bird": 1, "0": 0, "1.0": 1}),
    ],
)
def test_the_names_of_classes_win_over_their_numbers(
    tmp_path: Path, folders: list[str], values: dict[str, int]
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
        for i in range(8):
            Image.new("L", (8, 8), i).save(tmp_path / folder / f"{i}.png")
    data = ImageFolder(str(tmp_path), 8, 1)
    how = {"encoder": MLPEncoder, "decoder": MLPDecoder, "attributes": ["label"]}
    vae = ConditionalVAE.for_images(data, 2, **how, num_classes={"label": len(folders)})
    for value, code in values.items():
        found = known_attributes(vae, data, [""], [f"label={value}"])[1]
        assert found is not None and found.tolist() == [[code]]
    for value in {"0", "2", "3", "4", "-1", "0.5", "nan"} - {*values}:
        message = f"^--given label={value}: no such class.*; label is one of {folders[0]}"
        with pytest.raises(InputError, match=message):
            known_attributes(vae, data, [""], [f"label={value}"])


def test_without_the_images_a_class_has_no_name(tmp_path: Path) -> None:
    data = ImageFolder(str(tmp_path / "gone"), 8, 1)
    assert edited(data, [""], ["age=1", "gender=1"]) == [[1, 1]]
    with pytest.raises(InputError, match="gender=male: no number; the names of .*/gone: no such"):
        edited(data, [""], ["age=1", "gender=male"])


def test_samples_without_the_images_need_all_attributes(tmp_path: Path) -> None:
    data = ImageFolder(str(tmp_path / "gone"), 8, 1)
    vae, device = conditional(data), torch.device("cpu")
    state = "or state the attributes of the samples: --given gender=VALUE"
    with pytest.raises(InputError, match=f"gone: no such folder.*; {state}$"):
        draw(parser().parse_args(["run", "--num=2", "--given", "age=3"]), vae, data, device)
    options = parser().parse_args(["run", "--num=2", "--given", "age=3", "gender=1"])
    assert draw(options, vae, data, device).ndim == 3


@pytest.mark.parametrize("make", [ladder_vae, semi_supervised, two_latents])
@pytest.mark.parametrize("what", [["--traverse", "0"], ["--interpolate", "test:0", "test:1"]])
def test_walks_of_programs_with_other_latents_are_in_the_explorer(
    make: Any, what: list[str]
) -> None:
    options = parser().parse_args(["run", *what])
    with pytest.raises(InputError, match="or `pyrovae explore RUN`$"):
        draw(options, make(), small_data(), torch.device("cpu"))


def test_a_file_of_the_data_set_has_its_attributes(
    photos: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(photos.root / f"{i}.png") for i in (4, 7, 9)]
    assert edited(photos, names, []) == [[2, 0], [3.5, 1], [4.5, 1]]
    monkeypatch.chdir(photos.root)
    assert edited(photos, ["4.png", "../photos/7.png"], ["age=3"]) == [[3, 0], [3, 1]]
    assert photos.attributes_of("../t.csv") is None and photos.attributes_of("none.png") is None
    assert photos.attributes_of("12.png") == {"age": 6, "gender": 0}


def test_all_unknown_attributes_are_named_at_once(photos: ImageFolder, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(other := tmp_path / "other.png")
    alien = "is not among the images of the run; state its attributes: --given {}"
    for image, message in (
        (str(other), alien.format("age=VALUE gender=VALUE")),
        (
            os.path.join(photos.root, "0.png"),
            "unknown age, gender; state it: --given age=VALUE gender=VALUE",
        ),
    ):
        with pytest.raises(InputError, match=f"^{image}: {message}$"):
            edited(photos, [image], [])
    with pytest.raises(InputError, match=alien.format("gender=VALUE")):
        edited(photos, [str(other)], ["age=3"])
    assert edited(photos, [str(other)], ["age=3", "gender=male"]) == [[3, 0]]


@pytest.mark.parametrize("how", [{"known": "age"}, {"limit": 1}])
def test_images_that_are_left_out_have_their_attributes(
    photos: ImageFolder, how: dict[str, Any]
) -> None:
    root = str(photos.root)
    data = ImageFolder(root, 8, 1, attributes=str(photos.attributes), val_fraction=0.2, **how)
    names = [str(photos.root / f"{i}.png") for i in range(1, 20)]
    assert edited(data, names, []) == [[i / 2, i % 2] for i in range(1, 20)]
    with pytest.raises(InputError, match="0.png: unknown age; state it: --given age=VALUE$"):
        edited(data, [str(photos.root / "0.png")], ["gender=male"])


def test_links_lead_to_the_attributes_of_an_image(photos: ImageFolder, tmp_path: Path) -> None:
    """Of a linked folder, a link to an image, and a link to an image in the folder."""
    os.symlink(photos.root, tmp_path / "linked")
    os.symlink(photos.root / "4.png", tmp_path / "one.png")
    (tmp_path / "elsewhere").mkdir()
    os.rename(photos.root / "9.png", tmp_path / "elsewhere/real.png")
    os.symlink(tmp_path / "elsewhere/real.png", photos.root / "9.png")
    linked = ImageFolder(str(tmp_path / "linked"), 8, 1, attributes=str(photos.attributes))
    for data in (photos, linked):
        for image in (tmp_path / "linked/4.png", tmp_path / "one.png", photos.root / "4.png"):
            assert data.attributes_of(str(image)) == {"age": 2, "gender": 0}
        for folder in (photos.root, tmp_path / "linked"):
            assert data.attributes_of(str(folder / "9.png")) == {"age": 4.5, "gender": 1}
