"""Random changes of training images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrovae import ArrayData, Trainer
from pyrovae.data import Augmentation, Batches, Colour, Crop, Rotate, Shift
from pyrovae.utils.errors import InputError
from tests.support.small import small_data, small_vae

ALL = (Shift(3), Colour(0.5), Crop(0.5), Rotate(40))
each = pytest.mark.parametrize("change", ALL, ids=lambda change: type(change).__name__)


def images(count: int = 4, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, 9, 7), generator=generator).byte()


@each
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_shape_and_type_stay_and_every_image_changes(change: Augmentation, channels: int) -> None:
    given = images(4, channels)
    kept = given.clone()
    found = change(given, torch.tensor([[0.01, 0.2, 0.9][: change.numbers]]).expand(4, -1))
    assert found.dtype == torch.uint8 and found.shape == given.shape and torch.equal(given, kept)
    assert all(not torch.equal(a, b) for a, b in zip(found, given, strict=True))


@each
def test_an_image_changes_by_its_own_numbers_only(change: Augmentation) -> None:
    random = torch.rand(4, change.numbers, generator=torch.Generator().manual_seed(1))
    together = change(images(), random)
    for row in range(4):
        alone = change(images()[row : row + 1], random[row : row + 1])
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("change", [Shift(0), Colour(0.0), Crop(1.0), Rotate(0)])
def test_no_strength_is_no_change(change: Augmentation) -> None:
    assert torch.equal(change(images(), torch.rand(4, change.numbers)), images())


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.999), (0.5, 0.5), (0.999, 0.0)])
def test_a_shift_moves_whole_pixels_and_repeats_edges(first: float, second: float) -> None:
    down, across = (int(number * 5) - 2 for number in (first, second))
    found = Shift(2)(images(1), torch.tensor([[first, second]]))[0]
    for y in range(9):
        for x in range(7):
            source = min(max(y - down, 0), 8), min(max(x - across, 0), 6)
            assert torch.equal(found[:, y, x], images(1)[0, :, source[0], source[1]])


def test_shifts_are_equally_likely() -> None:
    """4,000 draws of 25 shifts: a count is off by 6 standard deviations with chance 1e-7."""
    given = torch.zeros(4000, 1, 5, 5, dtype=torch.uint8)
    given[:, :, 2, 2] = 255
    random = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    counts = (Shift(2)(given, random) > 0).sum((0, 1)).flatten()
    assert (counts - 160).abs().max() < 6 * 160**0.5


def test_colour_changes_the_mean_by_the_brightness_and_the_spread_by_the_contrast() -> None:
    grey = torch.tensor([[100, 120]], dtype=torch.uint8)[None, None].expand(1, 3, 1, 2)
    brighter = Colour(0.2)(grey, torch.tensor([[1.0, 0.5, 0.5]]))
    assert brighter[0, 0, 0].tolist() == [120, 144]
    flatter = Colour(0.2)(grey, torch.tensor([[0.5, 0.0, 0.5]]))
    assert flatter[0, 0, 0].tolist() == [102, 118]
    red = torch.tensor([200, 50, 50], dtype=torch.uint8)[None, :, None, None]
    paler = Colour(0.5)(red, torch.tensor([[0.5, 0.5, 0.0]]))
    assert paler.flatten().tolist() == [150, 75, 75]


def test_a_crop_enlarges_a_part_of_the_image() -> None:
    ramp = torch.arange(0, 256, 16, dtype=torch.uint8).expand(1, 1, 16, 16)
    left = Crop(0.5)(ramp, torch.tensor([[0.0, 0.0, 0.5]]))[0, 0, 0].int()
    right = Crop(0.5)(ramp, torch.tensor([[0.0, 0.999999, 0.5]]))[0, 0, 0].int()
    assert left[0] == 0 and left[-1] <= 128 and right[0] >= 112 and right[-1] == 240
    assert ((left.diff() <= 9) & (left.diff() >= 0)).all()


def test_a_quarter_turn_is_anticlockwise_and_exact() -> None:
    given = images(2)[..., :7, :]
    found = Rotate(90)(given, torch.ones(2, 1))
    assert torch.equal(found, given.rot90(1, (2, 3)))


def test_a_rotation_keeps_distances_in_images_that_are_not_square() -> None:
    given = torch.zeros(1, 1, 41, 21, dtype=torch.uint8)
    given[0, 0, 20, 18] = 255  # 8 pixels to the right of the centre.
    found = Rotate(90)(given, torch.ones(1, 1))
    assert found[0, 0].nonzero().tolist() == [[12, 10]]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (Shift, -1),
        (Colour, -0.1),
        (Colour, 1.1),
        (Crop, 0.0),
        (Crop, 1.5),
        (Rotate, -1.0),
        (Rotate, 181.0),
    ],
)
def test_wrong_strengths_are_one_clear_line(change: type, value: float) -> None:
    with pytest.raises(InputError, match=f"{value}: allowed"):
        change(value)


@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_resumed_epoch_repeats_the_changes(start: int) -> None:
    given = images(23).numpy()
    whole = list(Batches(given, 5, seed=3, augment=ALL).epoch(2))
    rest = list(Batches(given, 5, seed=3, augment=ALL).epoch(2, start))
    assert len(whole) == 4 and all(map(torch.equal, whole[start:], rest))
    other = list(Batches(given, 5, seed=4, augment=ALL).epoch(2))
    assert not any(map(torch.equal, whole, other))


def test_order_and_mirroring_do_not_depend_on_augmentation() -> None:
    given = images(23).numpy()
    plain, changed = (Batches(given, 5, seed=3, flip=True, augment=own) for own in ((), ALL))
    for first, second in zip(plain.plan(1)[:2], changed.plan(1)[:2], strict=True):
        assert torch.equal(first, second)
    assert plain.plan(1)[2].shape == (23, 0) and changed.plan(1)[2].shape == (23, 9)


@pytest.mark.slow
def test_training_images_change_and_validation_images_do_not(tmp_path: Path) -> None:
    scores = {}
    for name, change in (("plain", ()), ("zeros", (Zeros(),)), ("again", (Zeros(),))):
        data = small_data()
        data.augment = change
        torch.manual_seed(0)
        vae = small_vae()
        Trainer(epochs=1, batch_size=16).fit(vae, data, run=tmp_path / name)
        with open(tmp_path / name / "metrics.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        scores[name] = float(row["train_elbo"]), float(row["val_elbo"])
    assert scores["zeros"] == scores["again"]
    # A VAE that saw black images only finds them likely, and real images less so.
    assert scores["zeros"][0] > scores["plain"][0] and scores["zeros"][1] < scores["plain"][1]


@pytest.mark.parametrize(
    "kind", [ArrayData, lambda given, augment: Batches(given, 5, seed=0, augment=augment)]
)
@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda images: images, "function"),
        ([Shift(), torch.nn.Identity()], "Identity"),
        (Shift, "the class Shift"),
        (None, "NoneType"),
    ],
)
def test_other_changes_are_refused(kind: Any, change: Any, got: str) -> None:
    message = f"augment must be of the kind Augmentation, got {got}; such as Shift"
    with pytest.raises(TypeError, match=message):
        kind(images(10), augment=change)


class Floats(Augmentation):
    numbers = 0

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        return images / 255


class Halves(Floats):
    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        return images[..., ::2]


class Nothing(Floats):
    def __call__(self, images: Tensor, random: Tensor) -> Any:
        pass


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (Floats(), r"torch.float32 of shape \(5, 3, 9, 7\)"),
        (Halves(), r"torch.uint8 of shape \(5, 3, 9, 4\)"),
        (Nothing(), "NoneType"),
    ],
)
def test_a_change_that_returns_no_grey_values_is_named(change: Augmentation, got: str) -> None:
    message = f"augment: {type(change).__name__} returns {got}; allowed are .*torch.uint8 of shape"
    with pytest.raises(InputError, match=message):
        next(Batches(images(10).numpy(), 5, seed=0, augment=[change]).epoch(0))


class Zeros(Augmentation):
    """Sets all pixels to 0."""

    numbers = 1

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        return torch.zeros_like(images)


def test_the_stored_images_stay() -> None:
    given = images(10).numpy()
    kept = given.copy()
    for _ in Batches(given, 5, seed=0, shuffle=False, augment=ALL).epoch(0):
        pass
    assert np.array_equal(given, kept)
