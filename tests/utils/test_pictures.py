from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pyrovae import (
    VAE,
    DiagonalNormal,
    ImageData,
    InputError,
    MLPDecoder,
    MLPEncoder,
    SharedScaleNormal,
    StandardNormal,
    Trainer,
)
from pyrovae.data import Split
from pyrovae.utils.grids import (
    as_pictures,
    columns_for,
    grid,
    interleave,
    labelled,
    page,
    png,
    save_png,
    showing,
)

pytestmark = pytest.mark.usefixtures("without_pages")


def numbered(count: int, channels: int = 3) -> Tensor:
    """Images of 3x2 pixels, image i of the grey value 10 i."""
    return (10 * torch.arange(count) / 255).reshape(-1, 1, 1, 1).expand(-1, channels, 3, 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gap", [0, 1, 2])
@pytest.mark.parametrize(("count", "columns"), [(1, 12), (5, 3), (6, 3), (7, 1), (24, 12)])
def test_images_lie_row_by_row(count: int, columns: int, gap: int, channels: int) -> None:
    sheet = grid(numbered(count, channels), columns=columns, gap=gap)
    wide = min(count, columns)
    rows = -(-count // columns)
    assert sheet.dtype == torch.uint8
    assert sheet.shape == (channels, rows * (3 + gap) - gap, wide * (2 + gap) - gap)
    expected = torch.full_like(sheet, 255)
    for i in range(count):
        top, left = i // wide * (3 + gap), i % wide * (2 + gap)
        expected[:, top : top + 3, left : left + 2] = 10 * i
    assert torch.equal(sheet, expected)


def test_a_page_of_144_images_is_12_by_12() -> None:
    assert grid(torch.rand(144, 3, 8, 8)).shape == (3, 118, 118)


def test_grey_values_are_rounded_and_clamped() -> None:
    values = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 254.6 / 255, 1.0, 9.0])
    sheet = grid(values.reshape(1, 1, 1, 8))
    assert sheet.flatten().tolist() == [0, 0, 0, 1, 128, 255, 255, 255]


@pytest.mark.parametrize("value", range(0, 256, 5))
def test_8_bit_values_come_through(value: int) -> None:
    assert (grid(torch.full((1, 1, 2, 2), value / 255)) == value).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_grids_take_any_float(dtype: torch.dtype) -> None:
    assert (grid(torch.ones(2, 1, 3, 3, dtype=dtype), gap=0) == 255).all()


@pytest.mark.parametrize(("count", "columns"), [(4, 2), (5, 2), (3, 12)])
def test_rows_alternate(count: int, columns: int) -> None:
    first, second = torch.arange(count), torch.arange(count) + 100
    found = interleave(first, second, columns=columns).tolist()
    expected = []
    for start in range(0, count, columns):
        row = list(range(start, min(start + columns, count)))
        white = [1] * (-len(row) % min(columns, count))
        expected += row + white + [value + 100 for value in row] + white
    assert found == expected


def test_sets_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        interleave(torch.zeros(30), torch.zeros(10))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_comes_back(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "picture.png"
    for _ in range(2):
        sheet = torch.randint(0, 256, (channels, 7, 9), dtype=torch.uint8)
        save_png(sheet, path)
        with Image.open(path) as image:
            assert image.format == "PNG" and image.mode == ("L" if channels == 1 else "RGB")
            found = np.asarray(image).reshape(7, 9, channels)
        assert np.array_equal(found, sheet.movedim(0, -1).numpy())
    assert os.listdir(path.parent) == ["picture.png"]


def test_a_sheet_one_pixel_wide_is_still_a_picture(tmp_path: Path) -> None:
    save_png(torch.zeros(3, 5, 1, dtype=torch.uint8), tmp_path / "narrow.png")
    with Image.open(tmp_path / "narrow.png") as image:
        assert image.size == (1, 5)
    save_png(torch.zeros(1, 5, 1, dtype=torch.uint8), tmp_path / "narrow.png")
    with Image.open(tmp_path / "narrow.png") as image:
        assert image.size == (1, 5)


class OwnData(ImageData):
    """Noise of any number of channels."""

    flip = False

    def __init__(self, channels: int) -> None:
        self.image_shape = (channels, 4, 4)

    def split(self, name: str) -> Split:
        images = np.random.default_rng(0).integers(0, 256, (16, *self.image_shape), np.uint8)
        names = [str(place) for place in range(len(images))]
        return Split(images, names, np.zeros((len(images), 0), np.float32))

    def preprocess(self, image: object) -> np.ndarray:
        raise NotImplementedError


def own_vae(shape: tuple[int, int, int]) -> VAE:
    likelihood = SharedScaleNormal()
    return VAE(
        encoder=MLPEncoder(shape, num_outputs=4),
        decoder=MLPDecoder(shape, latent_dim=2, num_maps=likelihood.num_maps(shape[0])),
        prior=StandardNormal(2),
        likelihood=likelihood,
        posterior=DiagonalNormal(2),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "show", "mode"),
    [(1, (), "L"), (3, (), "RGB"), (2, (), "L"), (5, (), "L"), (5, (4, 0, 2), "RGB")],
)
def test_own_data_of_any_number_of_channels_train(
    channels: int, show: tuple[int, ...], mode: str, tmp_path: Path
) -> None:
    data, run = OwnData(channels), tmp_path / "run"
    data.show = show
    Trainer(epochs=1, batch_size=8).fit(own_vae(data.image_shape), data, run=run)
    for kind in ("samples", "reconstructions"):
        with Image.open(run / f"{kind}/epoch_0001.png") as image:
            assert image.mode == mode


def test_channels_are_tiles_in_rows() -> None:
    values = torch.arange(5) / 8
    images = values[:, None, None].expand(2, 5, 3, 2)
    found = as_pictures(images)
    assert found.shape == (2, 1, 9, 10)
    expected = torch.ones(2, 1, 9, 10)
    for channel in range(5):
        top, left = channel // 3 * 4 + 1, channel % 3 * 3 + 1
        expected[..., top : top + 3, left : left + 2] = channel / 8
    assert torch.equal(found, expected)
    for channels in (1, 3):
        assert torch.equal(as_pictures(images[:, :channels]), images[:, :channels])


def test_pictures_show_the_named_channels() -> None:
    images = torch.rand(2, 5, 3, 2)
    with showing((4, 0, 2)):
        assert torch.equal(as_pictures(images), images[:, [4, 0, 2]])
    with showing([1]):
        assert torch.equal(as_pictures(images[0]), images[0, [1]])
    assert as_pictures(images).shape == (2, 1, 9, 10)


@pytest.mark.parametrize(("side", "factor"), [(8, 8), (28, 2), (33, 1), (64, 1), (100, 1)])
def test_pages_enlarge_small_images_by_whole_factors(side: int, factor: int) -> None:
    images = torch.rand(3, 1, side, side // 2)
    sheet = page(images, 3)
    assert sheet.shape == (1, side * factor, 3 * (side // 2) * factor + 4)
    first = (images[0, 0] * 255).round().byte()
    assert torch.equal(sheet[0, ::factor, : side // 2 * factor : factor], first)


@pytest.mark.parametrize(("count", "columns"), [(144, 12), (64, 8), (30, 10), (61, 12), (5, 5)])
def test_rows_of_a_page_end_together(count: int, columns: int) -> None:
    assert columns_for(count) == columns


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_no_picture_has_wrong_colours(channels: int) -> None:
    with pytest.raises(InputError, match=f"images of {channels} channels"):
        grid(torch.zeros(3, channels, 4, 4))
    with pytest.raises(InputError, match=f"images of {channels} channels"):
        png(torch.zeros(channels, 4, 4, dtype=torch.uint8))


def test_labels_stand_beside_the_rows_and_above_the_columns() -> None:
    sheet = page(torch.full((6, 3, 64, 64), 0.5), 3)
    found = labelled(sheet, ["z[0]", "z[10]"], ["-1.0", "0.0", "1.0"])
    top, left = found.shape[1] - sheet.shape[1], found.shape[2] - sheet.shape[2]
    assert torch.equal(found[:, top:, left:], sheet)
    for row in range(2):
        assert (found[:, top + 66 * row + 20 : top + 66 * row + 44, :left] < 128).any()
        assert (found[:, top + 66 * row : top + 66 * row + 10, :left] == 255).all()
    for column in range(3):
        assert (found[:, :top, left + 66 * column : left + 66 * column + 64] < 128).any()
