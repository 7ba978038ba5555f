"""Lines of Python that prepare an image for an exported encoder without pyrovae."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pyrovae.data import ImageData
from pyrovae.programs import ModelGuidePair
from pyrovae.utils.randomness import private_randomness

__all__ = ["preparation"]

CODE = """\
import numpy as np
import torch
from PIL import Image, ImageOps


def prepare({image}):
{planes}
{fitted}
    pixels = torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))[None]
    return {observed}
"""
LUMINANCE = """\
    image.draft("L", image.size)  # JPEG files hold the luminance
"""
PHOTOGRAPH = """\
    image = ImageOps.exif_transpose(image).convert("RGBA")  # upright
    white = Image.new("RGBA", image.size, "white")  # behind transparent pixels
    planes = Image.alpha_composite(white, image).convert("{mode}").split()"""
GREYS = """\
    greys = np.clip((values - {black!r}) * (255 / ({white!r} - {black!r})), 0, 255)
    planes = [Image.fromarray(plane) for plane in np.rint(greys).astype(np.uint8)]"""
BYTES = """\
    planes = [Image.fromarray(plane) for plane in values]"""
CROPPED = """\
    width, height = planes[0].size
    {kept}
    left, top = (width - across) // 2, (height - down) // 2
    how = {{"resample": Image.Resampling.BILINEAR, "box": (left, top, left + across, top + down)}}
    planes = [plane.resize(({width}, {height}), **how) for plane in planes]"""
PADDED = """\
    how = {{"method": Image.Resampling.BILINEAR, "color": 0}}  # black borders
    planes = [ImageOps.pad(plane, ({width}, {height}), **how) for plane in planes]"""
LARGEST = """\
across = min(width, max(1, round(height * {width} / {height})))
    down = min(height, max(1, round(width * {height} / {width})))"""


def preparation(vae: ModelGuidePair) -> Iterator[str]:
    """A section of a README: code of a function that prepares an image as for training.

    The function has been compared with `vae.preprocess` and `vae.observe`.

    Args:
        vae: programs on the CPU with their `data`.
    """
    assert vae.data is not None
    code = next((own for own in _candidates(vae, vae.data) if _agrees(own, vae, vae.data)), "")
    if not code:
        yield "`vae.observe(vae.preprocess(image)[None])` of pyrovae prepares an image."
        return
    shape = (1, *vae.data.image_shape)
    yield f"`prepare` returns an input of the encoder, `{shape}`. It takes {_given(vae.data)}.\n"
    yield f"```python\n{code}```"


def _given(data: ImageData) -> str:
    """What `prepare` takes."""
    if _takes_photographs(data):
        return (
            'a photograph of 8 bits, such as `Image.open("photo.jpg")`. Large JPEG files may '
            "differ by a grey level from those of training, which decodes them at a smaller size"
        )
    kind = "uint8 values" if data.value_range() is None else "stored values"
    return f"an array `({data.image_shape[0]}, height, width)` of the {kind} of an image"


def _takes_photographs(data: ImageData) -> bool:
    return data.image_shape[0] in (1, 3) and data.value_range() is None


def _candidates(vae: ModelGuidePair, data: ImageData) -> Iterator[str]:
    """The code with each way to make observations of grey values."""
    channels, height, width = data.image_shape
    size: dict[str, Any] = {"height": height, "width": width}
    kept = f"across = down = {data.crop}" if data.crop else LARGEST.format(**size)
    fitted = (PADDED if data.pad else CROPPED).format(kept=kept, **size)
    image, planes, levels = "values", BYTES, data.value_range()
    if _takes_photographs(data):
        image, mode = "image", "L" if channels == 1 else "RGB"
        planes = LUMINANCE * (channels == 1) + PHOTOGRAPH.format(mode=mode)
    elif levels is not None:
        planes = GREYS.format(black=levels[0], white=levels[1])
    seen = vae.observe(torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1, 1))
    for observed in (
        "pixels / 255",
        f"(pixels > {int((seen == 0).sum()) - 1}).float()",
        "(torch.rand(pixels.shape) * 255 < pixels).float()  # a draw, as for training",
    ):
        yield CODE.format(image=image, planes=planes, fitted=fitted, observed=observed)


def _agrees(code: str, vae: ModelGuidePair, data: ImageData) -> bool:
    """Whether the code does the same to an image as the data set and the likelihood."""
    scope: dict[str, Any] = {}
    exec(code, scope)  # The code above.
    with tempfile.TemporaryDirectory() as folder, private_randomness(0, torch.device("cpu")):
        path, image = _example(data, Path(folder))
        state = torch.get_rng_state()
        expected = vae.observe(vae.preprocess(path)[None])
        torch.set_rng_state(state)
        return torch.equal(scope["prepare"](image), expected)


def _example(data: ImageData, folder: Path) -> tuple[Path, Any]:
    """A file with black, random and white pixels, and what `prepare` takes of it."""
    channels, *sides = data.image_shape
    size = [max(2 * side, data.crop or 0) + more for side, more in zip(sides, (3, 5), strict=True)]
    shares = np.random.default_rng(0).random((channels, *size))
    shares[:, : size[0] // 3], shares[:, -size[0] // 3 :] = 0, 1
    if _takes_photographs(data):
        path = folder / "image.png"
        rows = np.moveaxis(255 * shares, 0, -1).astype(np.uint8)
        Image.fromarray(rows if channels == 3 else rows[..., 0]).save(path)
        return path, Image.open(path)
    path, levels = folder / "image.npy", data.value_range()
    low, high = levels or (0.0, 255.0)
    values = (low + (high - low) * shares).astype(np.uint8 if levels is None else np.float64)
    np.save(path, values)
    return path, values
