from __future__ import annotations

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from pyrovae.data import load_image
from pyrovae.data.values import ValueRange
from pyrovae.utils.errors import InputError

COLOUR = (200, 100, 50)
LUMA = 124  # 0.299 * 200 + 0.587 * 100 + 0.114 * 50


def plain(mode: str) -> Image.Image:
    """One colour in the given mode, exactly or nearly."""
    image = Image.new("RGB", (40, 30), COLOUR)
    if mode == "P transparent":
        image = image.quantize(4)
        image.info["transparency"] = 3
        return image
    if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        image = image.convert("L" if mode in ("La", "PA") else mode)
        return image.convert("LA").convert(mode) if mode in ("La", "PA") else image
    if mode == "LAB":
        from PIL import ImageCms

        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        return ImageCms.applyTransform(image, to_lab)
    return image.convert(mode)


@pytest.mark.parametrize(
    "mode", ["RGB", "RGBA", "RGBa", "RGBX", "P", "P transparent", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_colour_modes(mode: str) -> None:
    if mode == "RGBa":
        image = plain("RGB").convert("RGBA").convert("RGBa")
    elif mode == "RGBX":
        image = plain("RGB").convert("RGBX")
    else:
        image = plain(mode)
    pixels = load_image(image, (3, 6, 8))
    assert pixels.shape == (3, 6, 8) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.reshape(COLOUR, (3, 1, 1))).max() <= 6
    assert np.abs(load_image(image, (1, 6, 8)).astype(int) - LUMA).max() <= 6


@pytest.mark.parametrize("mode", ["L", "LA", "La", "PA"])
def test_grey_modes(mode: str) -> None:
    image = plain(mode)
    assert np.abs(load_image(image, (1, 6, 8)).astype(int) - LUMA).max() <= 1
    assert np.abs(load_image(image, (3, 6, 8)).astype(int) - LUMA).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((8, 8), 40000, np.uint16), 156),
        (np.full((8, 8), 40000, ">u2"), 156),
        (np.full((8, 8), 40000, np.int32), 156),
        (np.full((8, 8), 0.5, np.float32), 128),
        (np.full((8, 8), 0.999, np.float32), 255),
        (np.ones((8, 8), bool), 255),
    ],
)
def test_deep_and_shallow_values(values: np.ndarray, expected: int) -> None:
    image = Image.fromarray(values)
    assert np.abs(load_image(image, (1, 4, 4)).astype(int) - expected).max() <= 1
    assert load_image(image, (3, 4, 4)).shape == (3, 4, 4)


def test_sixteen_bit_png_file(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    expected = np.rint(ramp / 257).astype(np.uint8)
    np.testing.assert_array_equal(load_image(tmp_path / "deep.png", (1, 8, 8))[0], expected)


def test_a_range_beyond_the_bits_of_a_colour_png_is_refused(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes([9, 0] * 12) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    raw = [
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(raw))
    assert (load_image(tmp_path / "a.png", (3, 4, 4)) == 9).all()
    assert (load_image(tmp_path / "a.png", (3, 4, 4), levels=ValueRange(0, 18)) == 128).all()
    with pytest.raises(InputError, match=r"a\.png: 16-bit colours, .* got 4095; TIFF keeps"):
        load_image(tmp_path / "a.png", (3, 4, 4), levels=ValueRange(0, 4095))


@pytest.mark.parametrize("value", [-1, 70000])
def test_values_out_of_range(value: int) -> None:
    with pytest.raises(InputError, match="allowed are 0 to 65535"):
        load_image(Image.fromarray(np.full((4, 4), value, np.int32)), (1, 4, 4))


@pytest.mark.parametrize("value", [1.001, 90.0, -0.01])
def test_floats_are_never_scaled_by_their_own_maximum(value: float) -> None:
    values = np.linspace(0, value, 16, dtype=np.float32).reshape(4, 4)
    with pytest.raises(InputError, match=r"values of float32 from .*allowed are 0 to 1; give"):
        load_image(Image.fromarray(values), (1, 4, 4))


def test_float_that_is_not_a_number() -> None:
    with pytest.raises(InputError, match="holds NaN"):
        load_image(Image.fromarray(np.full((4, 4), np.nan, np.float32)), (1, 4, 4))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "clear.png"
    if mode == "P":
        image = Image.new("P", (8, 8), 0)
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.save(path, transparency=b"\x00\xff")
    else:
        Image.new(mode, (8, 8), (0,) * len(mode)).save(path)
    assert (load_image(path, (3, 4, 4)) == 255).all()
    assert (load_image(path, (1, 4, 4)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((20, 30), np.uint8)
    upright[:10, :15] = 255  # the upper left quarter
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = Image.fromarray(upright)
    stored = stored if undo is None else stored.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("turned.jpg", "turned.png", "turned.tiff"):
        stored.save(tmp_path / name, exif=exif)
        pixels = load_image(tmp_path / name, (1, 20, 30))[0].astype(int)
        assert np.abs(pixels - upright).max() < 40, name


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    plain("RGB").save(tmp_path / "odd.jpg", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff\x00")
    assert load_image(tmp_path / "odd.jpg", (3, 4, 4)).shape == (3, 4, 4)


def test_crop_and_box() -> None:
    values = np.arange(218 * 178).reshape(218, 178) % 251
    image = Image.fromarray(values.astype(np.uint8))
    cropped = load_image(image, (1, 148, 148), crop=148)[0]
    np.testing.assert_array_equal(cropped, values[35:183, 15:163])
    square = load_image(image, (1, 178, 178))[0]
    np.testing.assert_array_equal(square, values[20:198])
    np.testing.assert_array_equal(load_image(image, (1, 218, 178))[0], values)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (5, 7)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    for shape in ((3, 8, 8), (1, 5, 9), (3, 1, 1)):
        assert (load_image(Image.new("L", size, 77), shape) == 77).all()


@pytest.mark.parametrize("size", [(1201, 903), (1280, 960), (640, 1023)])
def test_a_large_padded_photo_is_that_of_the_whole_file(
    size: tuple[int, int], tmp_path: Path
) -> None:
    smooth(size).save(tmp_path / "a.jpg", quality=98)
    with Image.open(tmp_path / "a.jpg") as whole:
        whole.convert("RGB").save(tmp_path / "a.png")
    shape = 3, 32, 32
    names = "a.jpg", "a.png"
    found, expected = (load_image(tmp_path / own, shape, pad=True).astype(int) for own in names)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "npy", "tif"])
@pytest.mark.parametrize("size", [(300, 100), (100, 300), (200, 200)])
def test_a_padded_image_is_whole_with_black_borders(
    size: tuple[int, int], suffix: str, tmp_path: Path
) -> None:
    """From files of every reader, whatever its long side is, and for other proportions too."""
    path, values = tmp_path / f"a.{suffix}", np.full(size[::-1], 200, np.uint8)
    if suffix == "npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    for shape in ((1, 20, 20), (3, 20, 40)):
        found = load_image(path, shape, pad=True)
        assert found.shape == shape
        scale = min(shape[2] / size[0], shape[1] / size[1])
        share = size[0] * size[1] * scale**2 / (shape[1] * shape[2])
        assert found.mean() / 200 == pytest.approx(share, abs=0.04)
        assert found[:, shape[1] // 2, shape[2] // 2].min() > 195
        for axis in (0, 1):  # It is in the centre, to half a pixel.
            inside = np.flatnonzero(found[0].max(1 - axis) > 100)
            assert abs(inside.mean() - (shape[1 + axis] - 1) / 2) <= 0.5


def test_crop_larger_than_the_image(tmp_path: Path) -> None:
    plain("RGB").save(tmp_path / "small.png")
    with pytest.raises(
        InputError, match=r"small\.png: 30x40 pixels .height x width., smaller than the crop of 31"
    ):
        load_image(tmp_path / "small.png", (3, 4, 4), crop=31)


def smooth(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Waves of colour, without detail that a smaller image could not hold."""
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize(
    ("shape", "crop"), [((3, 32, 32), 600), ((1, 32, 32), 600), ((3, 40, 64), None)]
)
def test_reduced_decoding_stays_close(
    tmp_path: Path, mode: str, orientation: int, shape: tuple[int, int, int], crop: int | None
) -> None:
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth((901, 643), mode).save(path, quality=95, exif=exif)
    with Image.open(path) as image:
        image.load()  # all of its pixels: nothing is left to skip
        full = load_image(image, shape, crop).astype(int)
    reduced = load_image(path, shape, crop).astype(int)
    assert np.abs(full - reduced).mean() < 1


@pytest.mark.parametrize("side", [32, 64, 100, 180])
def test_decoding_keeps_three_times_the_wanted_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """An image decoded to half of 178 by 218 would differ by more than a grey level at 64."""
    decoded = []
    load = JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda i: (decoded.append(i.size), load(i))[1])
    for size, crop in (((178, 218), 148), ((640, 480), 400), ((90, 90), None)):
        smooth(size).save(tmp_path / "face.jpg")
        decoded.clear()
        assert load_image(tmp_path / "face.jpg", (3, side, side), crop).shape[1:] == (side, side)
        kept = (crop or min(size)) * decoded[0][0] / size[0]
        assert kept >= 3 * side or decoded[0] == size


def test_an_opened_image_is_left_as_it_is() -> None:
    image = plain("RGBA")
    load_image(image, (3, 4, 4))
    assert image.mode == "RGBA" and image.size == (40, 30)


def bad_files(folder: Path) -> dict[str, str]:
    """Files that are no images, and what is said about each."""
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    Image.fromarray(noise).save(folder / "whole.png")
    for name in ("jpg", "png"):
        raw = (folder / f"whole.{name}").read_bytes()
        (folder / f"truncated.{name}").write_bytes(raw[: len(raw) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "folder.jpg").mkdir()
    return {
        "truncated.jpg": "truncated",
        "truncated.png": "truncated",
        "empty.jpg": "empty",
        "text.jpg": "not an image",
        "folder.jpg": "directory",
        "missing.jpg": "No such file",
    }


def test_bad_files(tmp_path: Path) -> None:
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            load_image(str(tmp_path / name), (3, 8, 8))
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_libtiff_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.tif", compression="tiff_lzw")
    content = (tmp_path / "a.tif").read_bytes()
    for start in range(20, 2000, 200):
        (tmp_path / "a.tif").write_bytes(content[:start] + 60 * b"\xff" + content[start + 60 :])
        with suppress(InputError):
            load_image(tmp_path / "a.tif", (3, 8, 8))
    assert capfd.readouterr() == ("", "")


def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain("RGB").save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # Pillow warns above, fails above twice
    assert load_image(tmp_path / "bomb.png", (3, 4, 4)).shape == (3, 4, 4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="bomb"):
        load_image(tmp_path / "bomb.png", (3, 4, 4))


def test_warnings_stay_in_across_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain("RGB").save(tmp_path / "warns.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: load_image(tmp_path / "warns.png", (3, 4, 4)), range(200)))
    assert warnings.filters == before


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 0, 4)])
def test_impossible_shape(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="allowed are"):
        load_image(plain("RGB"), shape)


@pytest.mark.slow
def test_real_faces_agree_with_plain_pillow(real_data: Path) -> None:
    folder = real_data / "celeba/img_align_celeba/img_align_celeba"
    for path in sorted(folder.glob("*.jpg"))[:20]:
        with Image.open(path) as image:
            box = (15, 35, 163, 183)
            expected = image.resize((64, 64), Image.Resampling.BILINEAR, box=box)
        pixels = load_image(path, (3, 64, 64), crop=148)
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16"])
def test_what_is_read_may_be_written_to(mode: str, channels: int, tmp_path: Path) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png", (channels, 4, 4))
    assert pixels.flags.writeable and pixels.flags.c_contiguous
