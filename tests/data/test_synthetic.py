from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from pyrovae.data.synthetic import FACTORS, SyntheticFaces, draw_faces
from pyrovae.utils.errors import InputError


def sweep(name: str, steps: int = 2, image_size: int = 64) -> np.ndarray:
    """The middle face with one factor going from -1 to 1: float64 `(steps, 3, H, W)`."""
    factors = np.zeros((steps, len(FACTORS)), np.float32)
    factors[:, FACTORS.index(name)] = np.linspace(-1, 1, steps)
    return draw_faces(factors, image_size).astype(float)


def uniform(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, len(FACTORS))).astype(np.float32)


def region(name: str) -> tuple[float, float, float, float]:
    """Top, bottom, left and right of what a factor changes, as shares of the picture."""
    rows, columns = np.nonzero(np.abs(np.diff(sweep(name), axis=0)[0]).max(0) > 2)
    return rows.min() / 64, rows.max() / 64, columns.min() / 64, columns.max() / 64


def test_same_seed_gives_same_images() -> None:
    one, two = (SyntheticFaces(20, 4, 4, seed=3).split("train") for _ in range(2))
    assert np.array_equal(one.images, two.images)
    assert np.array_equal(one.attributes, two.attributes)
    other = SyntheticFaces(20, 4, 4, seed=4).split("train")
    assert not np.array_equal(one.attributes, other.attributes)


def test_larger_data_begins_with_smaller() -> None:
    small = SyntheticFaces(num_train=7).split("train")
    large = SyntheticFaces(num_train=75, num_val=3).split("train")
    assert np.array_equal(small.images, large.images[:7])
    assert np.array_equal(small.attributes, large.attributes[:7])
    assert small.names == large.names[:7]


def test_image_is_the_same_alone_and_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors = uniform(70)
    images = draw_faces(factors)
    for i in (0, 31, 32, 69):
        assert np.array_equal(draw_faces(factors[i : i + 1])[0], images[i])
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert np.array_equal(draw_faces(factors), images)


def test_splits_are_independent_draws() -> None:
    data = SyntheticFaces(30, 30, 30)
    splits = [data.split(name) for name in ("train", "val", "test")]
    rows = np.concatenate([split.attributes for split in splits])
    assert len(np.unique(rows, axis=0)) == 90
    assert [split.names[0] for split in splits] == ["train/00000", "val/00000", "test/00000"]


@pytest.mark.slow
def test_factors_are_uniform() -> None:
    factors = SyntheticFaces(num_train=4000, image_size=16).split("train").attributes
    assert factors.min() >= -1 and factors.max() < 1
    assert np.abs(factors.mean(0)).max() < 5 / (3 * 4000) ** 0.5
    assert np.abs(np.corrcoef(factors.T) - np.eye(len(FACTORS))).max() < 5 / 4000**0.5


def test_split_holds_what_was_drawn() -> None:
    data = SyntheticFaces(5, 3, 2, image_size=32)
    split = data.split("val")
    assert data.image_shape == (3, 32, 32) and data.flip is False
    assert split.images.shape == (3, 3, 32, 32) and split.images.dtype == np.uint8
    assert split.attributes.dtype == np.float32
    assert np.array_equal(split.images, draw_faces(split.attributes, 32))
    again = data.split("val")
    assert np.array_equal(again.images, split.images) and isinstance(again.images, np.memmap)


def test_table() -> None:
    table = SyntheticFaces(5, image_size=16).split("train").table()
    assert tuple(table.columns) == FACTORS
    assert list(table.index) == [f"train/0000{i}" for i in range(5)]


@pytest.mark.parametrize("name", FACTORS)
def test_every_factor_changes_the_picture_gradually(name: str) -> None:
    images = sweep(name, steps=41)
    assert np.abs(images[-1] - images[0]).max() > 30
    steps = np.abs(np.diff(images, axis=0)).mean((1, 2, 3))
    assert steps.min() > 0
    assert steps.max() < 0.15 * steps.sum()


@pytest.mark.parametrize(
    ("name", "top", "bottom"),
    [
        ("eye_size", 0.30, 0.56),
        ("eye_colour", 0.40, 0.54),
        ("gaze", 0.40, 0.54),
        ("brow_height", 0.28, 0.45),
        ("mouth_curve", 0.58, 0.76),
        ("mouth_open", 0.58, 0.76),
    ],
)
def test_feature_changes_only_its_part_of_the_face(name: str, top: float, bottom: float) -> None:
    first, last, left, right = region(name)
    assert top <= first < last <= bottom
    assert 0.25 < left < right < 0.75
    assert left == pytest.approx(1 - right, abs=0.04)


def test_directions() -> None:
    def change(name: str) -> np.ndarray:
        before, after = sweep(name)
        return (after - before).sum(0)

    left, right = np.s_[:, :32], np.s_[:, 32:]
    assert change("skin_tone").sum() < 0 < change("hair_tone").sum()
    assert change("light")[left].sum() < 0 < change("light")[right].sum()
    eye = np.s_[26:34, 19:29]
    iris = np.array([255 * 3 - image.sum(0)[eye].astype(float) for image in sweep("gaze")])
    across = (iris * np.arange(10)).sum((1, 2)) / iris.sum((1, 2))
    assert across[0] < across[1]
    blue = sweep("background")[:, 2, :4].mean((1, 2)) - sweep("background")[:, 0, :4].mean((1, 2))
    assert blue[1] < 0 < blue[0]


def test_mirrored_factors_mirror_the_features() -> None:
    # Eyes, nose and mouth only: the parting of the hair and the glints have a side.
    for name in ("yaw", "gaze"):
        before, after = sweep(name)[..., 26:50, 22:42]
        assert np.abs(before - after[..., ::-1]).mean() < 0.3 * np.abs(before - after).mean()


def test_edges_are_antialiased() -> None:
    factors = uniform(8)
    small, large = draw_faces(factors, 64), draw_faces(factors, 256)
    shrunk = large.reshape(8, 3, 64, 4, 64, 4).mean((3, 5))
    assert np.abs(small - shrunk).mean() < 1.5
    hard = large[..., 1::4, 1::4]
    assert np.abs(small - shrunk).mean() < 0.6 * np.abs(hard - shrunk).mean()


def test_edge_of_shirt_has_intermediate_values() -> None:
    column = draw_faces(np.zeros((1, len(FACTORS))))[0, 0, 50:, 12].astype(float)
    light, dark = column[0], column[-1]
    assert light > dark + 50
    assert np.any((column < light - 15) & (column > dark + 15))


@pytest.mark.parametrize(
    "arguments",
    [{"num_train": 0}, {"num_val": -1}, {"num_test": 0}, {"image_size": 15}, {"seed": -1}],
)
def test_rejects_numbers_out_of_range(arguments: dict[str, int]) -> None:
    [(name, value)] = arguments.items()
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be at least"):
        SyntheticFaces(**arguments)


def test_rejects_unknown_split() -> None:
    with pytest.raises(InputError, match="split .*allowed are train, val, test"):
        SyntheticFaces().split("valid")


def test_rejects_bad_factors() -> None:
    with pytest.raises(ValueError, match=r"must have shape \(N, 15\), got \(2, 3\)"):
        draw_faces(np.zeros((2, 3)))
    for value in (1.5, np.nan):
        with pytest.raises(ValueError, match=rf"must be in \[-1, 1\], got {value}"):
            draw_faces(np.full((1, len(FACTORS)), value))


def test_no_rows_give_no_images() -> None:
    assert draw_faces(np.zeros((0, len(FACTORS)))).shape == (0, 3, 64, 64)


def test_preprocess_gives_the_shape_of_the_data() -> None:
    picture = SyntheticFaces(image_size=32).preprocess(Image.new("RGB", (50, 40), (10, 20, 30)))
    assert picture.shape == (3, 32, 32) and picture.dtype == np.uint8
    assert np.array_equal(np.unique(picture.reshape(3, -1), axis=1)[:, 0], [10, 20, 30])
