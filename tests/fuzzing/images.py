"""Image files: damaged, of odd modes, turned, of other content than their extension says."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pyrovae import ImageFolder
from pyrovae.data import SPLITS
from tests.fuzzing.base import Campaign, Wrong, check_nothing_left, logged, refusal, unread
from tests.fuzzing.mutations import mutated

SIZE = 8
#: By extension, Pillow's format and the modes that it writes.
FORMATS = {
    ".png": ("PNG", ["1", "L", "LA", "I;16", "I", "P", "RGB", "RGBA"]),
    ".jpg": ("JPEG", ["1", "L", "RGB", "CMYK"]),
    ".tif": ("TIFF", ["1", "L", "LA", "I;16", "I", "F", "P", "RGB", "RGBA", "CMYK", "YCbCr"]),
    ".gif": ("GIF", ["1", "L", "P", "RGB", "RGBA"]),
    ".bmp": ("BMP", ["1", "L", "P", "RGB", "RGBA"]),
    ".webp": ("WEBP", ["L", "P", "RGB", "RGBA"]),
    ".ppm": ("PPM", ["1", "L", "I", "RGB"]),
    ".tga": ("TGA", ["1", "L", "P", "RGB", "RGBA"]),
    ".ico": ("ICO", ["RGB", "RGBA"]),
    ".pcx": ("PCX", ["1", "L", "P", "RGB"]),
    ".jp2": ("JPEG2000", ["L", "LA", "RGB", "RGBA"]),
}
TURNED = ("JPEG", "PNG", "TIFF", "WEBP")


class Images(Campaign):
    name, count, quick = "images", 600, 8

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        root, channels = folder / "images", rng.choice((1, 3))
        root.mkdir()
        for i in range(rng.choice((3, 3, 3, 20))):
            picture("RGB", rng).save(root / f"good{i:02}.png")
        extension, data = changed_file(rng)
        odd = root / f"odd{extension}"
        odd.write_bytes(data)
        on_error = rng.choice(("raise", "skip"))
        wanted = {path.name: as_pillow(path.read_bytes(), channels) for path in root.iterdir()}
        unread()  # What Pillow printed itself.
        # Two times: the images are made, and then taken from the cache.
        for _ in range(2):
            read(root, channels, on_error, wanted, odd)
        check_nothing_left(folder)


def read(
    root: Path, channels: int, on_error: str, wanted: dict[str, np.ndarray | None], odd: Path
) -> None:
    """Prepares a folder; checks what is read, and what is said of the file that is not."""
    data = ImageFolder(str(root), SIZE, channels, on_error=on_error)  # type: ignore[arg-type]
    found: dict[str, np.ndarray] = {}
    logged.clear()

    def collect() -> None:
        for name in SPLITS:
            split = data.split(name)
            found.update(zip(split.names, split.images, strict=True))

    line, bad = refusal(collect), wanted[odd.name] is None
    if line:
        alone = "none of the 1 images can be read" in line  # A split that had only this one.
        if not bad or str(odd) not in line or (on_error == "skip" and not alone):
            raise Wrong(f"refused: {line}")
        return
    if bad:
        told = [text for text in logged if "1 of" in text and str(odd) in text]
        if on_error == "raise" or len(told) != 1 or odd.name in found:
            raise Wrong(f"what Pillow cannot read passes: {logged}")
    for name, image in wanted.items():
        if image is not None:
            compare(name, found.get(name), image)


def compare(name: str, found: np.ndarray | None, wanted: np.ndarray) -> None:
    """Raises `Wrong` if an image is not there, or off by more than rounding."""
    if found is None:
        raise Wrong(f"{name} is missing")
    off = np.abs(found.astype(int) - wanted.astype(int)).max()
    if off > 2:
        raise Wrong(f"{name} is off by {off} grey levels")


def picture(mode: str, rng: random.Random) -> Image.Image:
    """Noise or a gradient of some size."""
    width, height = rng.randint(1, 40), rng.randint(1, 40)
    source = np.random.default_rng(rng.randrange(2**32))
    if mode == "I;16":
        return Image.fromarray(source.integers(0, 2**16, (height, width)).astype(np.uint16))
    if mode == "I":
        ceiling = rng.choice((2**16, 2**16, 2**16 + 5))
        return Image.fromarray(source.integers(0, ceiling, (height, width)).astype(np.int32))
    if mode == "F":
        ceiling = rng.choice((1.0, 1.0, 1.5, float("nan")))
        return Image.fromarray((source.random((height, width)) * ceiling).astype(np.float32))
    colours = Image.fromarray(source.integers(0, 256, (height, width, 4)).astype(np.uint8))
    return colours.convert("RGB").convert(mode) if mode == "P" else colours.convert(mode)


def written(rng: random.Random) -> tuple[str, bytes]:
    """An image file of some kind, and its extension."""
    while True:
        extension = rng.choice(list(FORMATS))
        kind, modes = FORMATS[extension]
        image, out = picture(rng.choice(modes), rng), io.BytesIO()
        options: dict[str, object] = {}
        if kind in TURNED and rng.random() < 0.4:
            exif = Image.Exif()
            exif[0x0112] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535))
            options["exif"] = exif
        if kind == "TIFF":
            options["compression"] = rng.choice(
                (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")
            )
        if image.mode == "P" and kind in ("PNG", "GIF") and rng.random() < 0.3:
            options["transparency"] = 0
        try:
            image.save(out, kind, **options)
        except (OSError, ValueError, KeyError, RuntimeError):
            continue  # Not every mode goes with every option.
        return extension, out.getvalue()


def huge(data: bytes, rng: random.Random) -> bytes:
    """Some number in the header is very large."""
    at = rng.randrange(4, max(5, min(len(data), 64)))
    big = rng.choice((b"\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\x00\x00\x40\x00"))
    return data[:at] + big + data[at + len(big) :]


def changed_file(rng: random.Random) -> tuple[str, bytes]:
    """The extension and content of a file that may be damaged."""
    extension, data = written(rng)
    kind = rng.random()
    if kind < 0.2:
        return extension, data
    if kind < 0.3:
        return rng.choice(list(FORMATS)), data
    if kind < 0.4:
        return extension, huge(data, rng)
    if kind < 0.45:
        return extension, rng.randbytes(rng.randrange(200))
    return extension, mutated(data, rng)


def as_pillow(data: bytes, channels: int) -> np.ndarray | None:
    """What Pillow makes of a file, as `(C, H, W)`; None if it cannot, or the values are off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                if channels == 1:
                    image.draft("L", image.size)  # Luminance as a JPEG holds it.
                image.load()
                upright = tolerant(ImageOps.exif_transpose, image)
                return reduced(eight_bits(upright), channels)
        except Exception:
            return None


def tolerant(turn: Callable[..., Image.Image | None], image: Image.Image) -> Image.Image:
    """An image turned upright, or as it is where its EXIF block is damaged."""
    try:
        return turn(image) or image
    except Exception:
        return image


def eight_bits(image: Image.Image) -> Image.Image:
    """Grey values of more bits as 8; `ValueError` if they are out of range."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(float)
    ceiling = 1.0 if image.mode == "F" else 65535.0
    if not ((values >= 0) & (values <= ceiling)).all():
        raise ValueError("out of range")
    return Image.fromarray(np.rint(values / ceiling * 255).astype(np.uint8))


def reduced(image: Image.Image, channels: int) -> np.ndarray:
    """On white, centred, square and of the wanted size."""
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = (
            image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        )
        values = np.asarray(image).astype(float)
        alpha = values[..., 3:] / 255
        laid = np.rint(values[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        image = Image.fromarray(laid)
    if image.mode == "LAB":
        image = image.convert("RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    box = (left, top, left + side, top + side)
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image).reshape(SIZE, SIZE, channels).transpose(2, 0, 1)
