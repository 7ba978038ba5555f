from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae import ImageFolder
from pyrovae.data import SPLITS, load_image
from pyrovae.data.values import ValueRange
from pyrovae.utils.errors import InputError

RNG = np.random.default_rng(0)
DEEP = RNG.integers(100, 4000, (12, 6, 7)).astype(np.uint16)
RANGE = ValueRange(0, 4095)


def grey(values: np.ndarray) -> np.ndarray:
    return np.rint(values * (255 / 4095)).astype(np.uint8)


def every_image(root: Path, channels: int = 1) -> dict[str, np.ndarray]:
    """The images of all splits by name."""
    data = ImageFolder(str(root), (6, 7), channels, black=0, white=4095)
    splits = [data.split(name) for name in SPLITS]
    return {name: own for s in splits for name, own in zip(s.names, s.images, strict=True)}


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "deflate"}, {"byteorder": ">"}, {"bigtiff": True}, {"pillow": True}],
    ids=str,
)
def test_each_page_of_a_stack_is_an_image(tmp_path: Path, options: dict) -> None:
    if "pillow" in options:
        first, *others = map(Image.fromarray, DEEP)
        first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    else:
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="minisblack", **options)
    found = every_image(tmp_path)
    assert sorted(found) == sorted(f"a.tif[{page}]" for page in range(12))
    for page, values in enumerate(DEEP):
        np.testing.assert_array_equal(found[f"a.tif[{page}]"][0], grey(values))


def test_a_page_has_its_own_split_and_a_single_page_its_own_name(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tiff", "c.png"):
        Image.fromarray(DEEP[0]).save(tmp_path / name)
    assert sorted(every_image(tmp_path)) == ["a.tif", "b.tiff", "c.png"]


def test_smaller_copies_of_a_page_are_no_images(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in DEEP[:3]:
            file.write(page)
            file.write(page[::2, ::2], subfiletype=1)
    found = every_image(tmp_path)
    assert sorted(found) == ["a.tif[0]", "a.tif[2]", "a.tif[4]"]
    np.testing.assert_array_equal(found["a.tif[2]"][0], grey(DEEP[1]))


def test_a_stack_that_is_cut_off_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, *others = map(Image.fromarray, DEEP)
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    raw = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(raw[: len(raw) // 2])
    found = every_image(tmp_path)
    assert 3 < len(found) < 9
    assert f"a.tif: damaged after page {len(found) - 1}; later pages" in caplog.text


def test_pages_of_several_sizes_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(page) for page in (DEEP[0], DEEP[1], DEEP[2, :3])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"page 2 has 3x7 pixels .height x width. and page 0 6x7"):
        every_image(tmp_path)


@pytest.mark.parametrize("layout", ["contig", "separate", "pages", "npy", "npy last"])
def test_any_number_of_channels(tmp_path: Path, layout: str) -> None:
    images = DEEP.reshape(3, 4, 6, 7)
    for number, image in enumerate(images):
        if layout.startswith("npy"):
            stored = image.transpose(1, 2, 0) if layout == "npy last" else image
            np.save(tmp_path / f"{number}.npy", stored)
            continue
        tifffile = pytest.importorskip("tifffile")
        stored = image.transpose(1, 2, 0) if layout == "contig" else image
        planes = {} if layout == "pages" else {"planarconfig": layout}
        tifffile.imwrite(tmp_path / f"{number}.tif", stored, photometric="minisblack", **planes)
    found = every_image(tmp_path, channels=4)
    for number, name in enumerate(sorted(found)):
        np.testing.assert_array_equal(found[name], grey(images[number]))


def test_deep_colours_keep_their_bits(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    colours = DEEP[:3].transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    pixels = load_image(tmp_path / "a.tif", (3, 6, 7), levels=RANGE)
    np.testing.assert_array_equal(pixels, grey(DEEP[:3]))


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_deep_negatives_are_told(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pillow inverts those of 8 bits, and nobody those of 16: runs hold them as they are."""
    tifffile = pytest.importorskip("tifffile")
    values = np.linspace(0, np.iinfo(kind).max, 64).reshape(8, 8).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    found = load_image(tmp_path / "a.tif", (1, 8, 8))[0].astype(int)
    assert (found[0, 0] > found[-1, -1]) == (kind == "u1")
    with caplog.at_level(logging.WARNING, "pyrovae"):
        ImageFolder(str(tmp_path), image_size=8, channels=1).about()
    assert ("a.tif" in caplog.text) == ("negatives" in caplog.text) == (kind == "u2")


def test_other_channels_than_those_of_the_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DEEP[:5])
    with pytest.raises(InputError, match=r"a\.npy: an image of shape \(5, 6, 7\): allowed are"):
        load_image(tmp_path / "a.npy", (3, 6, 7), levels=RANGE)
    Image.new("RGB", (7, 6)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: 3 channels, allowed are 4 \(--data.channels"):
        load_image(tmp_path / "a.png", (4, 6, 7))


def test_without_tifffile_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        tmp_path / "a.tif", DEEP[:5], photometric="minisblack", planarconfig="separate"
    )
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    message = r"a\.tif: tifffile is not installed; pip install 'pyrovae\[tiff\]'$"
    with pytest.raises(InputError, match=message):
        load_image(tmp_path / "a.tif", (5, 6, 7), levels=RANGE)


def test_deep_files_are_measured_or_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, page in enumerate(DEEP):
        Image.fromarray(page).save(tmp_path / f"{number}.png")
    ImageFolder(str(tmp_path), (6, 7), 1).split("train")
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "use only" in record.getMessage() and "--data.black" in record.getMessage()
    caplog.clear()
    data = ImageFolder(str(tmp_path), (6, 7), 1, black="auto", white="auto")
    train = data.split("train")
    values = np.stack([DEEP[int(Path(name).stem)] for name in train.names])
    low, high = np.quantile(values, [0.001, 0.999], method="nearest")
    assert data.found() == {"black": low, "white": high} and not caplog.records
    mapped = np.rint(np.clip((values - low) * (255 / (high - low)), 0, 255))
    np.testing.assert_array_equal(train.images[:, 0], mapped)
    np.testing.assert_array_equal(data.preprocess(tmp_path / train.names[0])[0], mapped[0])
    again = ImageFolder(str(tmp_path), (6, 7), 1, black=low, white=high)
    np.testing.assert_array_equal(again.split("test").images, data.split("test").images)


def test_all_black_files_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """16-bit values below 128 all become black."""
    for number in range(5):
        Image.fromarray(DEEP[number] % 100).save(tmp_path / f"{number}.png")
    ImageFolder(str(tmp_path), (6, 7), 1).split("train")
    assert "use only 1 of 256 grey levels" in caplog.text
