"""Uploads: what is an image is read as the images of the run, anything else is refused."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae import ArrayData, InputError
from pyrovae.commands.explorer import uploading
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.seeing import UPLOADS
from pyrovae.commands.explorer.uploading import read_upload
from tests.support.explorers import explorer, file_of
from tests.support.small import small_data, small_vae

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "PPM", "WEBP", "JPEG"])
@pytest.mark.parametrize("shape", [(16, 16), (40, 60), (7, 3)])
def test_an_upload_is_read_as_a_file_of_the_data_set(
    kind: str, shape: tuple[int, int], folder: Path
) -> None:
    data = small_data()
    content = file_of(np.ascontiguousarray(PIXELS[: shape[0], : shape[1]]), kind)
    found = read_upload(content, data)
    path = folder / f"own.{kind.lower()}"
    path.write_bytes(content)
    assert found.dtype == np.uint8 and np.array_equal(found, data.preprocess(path))
    assert os.listdir(folder) == [path.name]


def test_grey_deep_and_transparent_images_are_read() -> None:
    data = small_data()
    for pixels in (PIXELS[..., 0], RANDOM.integers(0, 2**16, (20, 20), dtype=np.uint16)):
        assert read_upload(file_of(np.ascontiguousarray(pixels)), data).shape == (3, 16, 16)
    clear = file_of(np.zeros((20, 20, 4), np.uint8))
    assert (read_upload(clear, data) == 255).all()


def test_images_of_any_number_of_channels_are_read_from_tiff_files(folder: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    images = RANDOM.integers(0, 256, (20, 5, 8, 8), dtype=np.uint8)
    data, buffer = ArrayData(images), io.BytesIO()
    tifffile.imwrite(buffer, images[3], photometric="minisblack")
    assert np.array_equal(read_upload(buffer.getvalue(), data), images[3])
    with pytest.raises(InputError, match="^the uploaded file: 3 channels, allowed are 5"):
        read_upload(file_of(PIXELS), data)
    assert not os.listdir(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the uploaded file is empty: allowed is an image such as a PNG or JPEG file"),
        (b"hello", "the uploaded file: not an image; allowed are PNG, JPEG, GIF"),
        (b"<svg onload=alert(1)>", "the uploaded file: not an image; allowed are PNG, JPEG, GIF"),
        (b"II*\0" + b"\0" * 50, "the uploaded file: "),
        (file_of(PIXELS)[:300], "the uploaded file: "),
        (b"\x93NUMPY\x01\0v\0{}", "the uploaded file: not an image; allowed are PNG, JPEG, GIF"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "the uploaded file: not an image; ",
        ),
        (b"x" * (20 * 2**20 + 1), "the uploaded file has 20.0 MB: allowed are 20 MB"),
    ],
    ids=["empty", "text", "svg", "tiff", "cut", "numpy", "eps", "large"],
)
def test_what_is_no_image_is_refused_in_one_line(
    content: bytes, message: str, folder: Path
) -> None:
    own = explorer(small_vae(), 30)
    with pytest.raises(InputError) as refused:
        ANSWERS["upload"](own, {"bytes": content})
    said = str(refused.value)
    assert said.startswith(message) and "\n" not in said and str(folder) not in said
    assert not os.listdir(folder)
    with pytest.raises(InputError, match="no such upload"):
        own.images.seen("upload:1")


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = file_of(PIXELS)
    monkeypatch.setattr(uploading, "PIXELS", 2000)
    with pytest.raises(InputError, match="^the uploaded file: 2,400 pixels, allowed are 2,000$"):
        read_upload(content, small_data())
    with pytest.raises(InputError, match="^the uploaded file: 7,200 pixels, allowed are 2,000$"):
        read_upload(file_of(PIXELS, "TIFF"), small_data())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="^the uploaded file: allowed are 2,000 pixels, got more"):
        read_upload(content, small_data())


@pytest.mark.slow
def test_only_the_last_uploads_are_kept() -> None:
    own = explorer(small_vae(), 30)
    names = [
        ANSWERS["upload"](own, {"bytes": file_of(PIXELS[row:])})["name"]
        for row in range(UPLOADS + 2)
    ]
    assert names == [f"upload:{number + 1}" for number in range(UPLOADS + 2)]
    for name in names[:2]:
        with pytest.raises(InputError, match=f"^{name}: no such upload; the last 20 are kept$"):
            ANSWERS["image"](own, {"name": name})
    assert ANSWERS["image"](own, {"name": names[2]})["name"] == names[2]
