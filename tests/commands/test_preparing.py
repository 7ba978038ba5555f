"""The code for images in the README of an export: it does what training does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import (
    VAE,
    ArrayData,
    Bernoulli,
    Masked,
    MLPDecoder,
    MLPEncoder,
    Normal,
    StandardNormal,
    SyntheticFaces,
    ThresholdBinarization,
)
from pyrovae.commands.export import readme
from pyrovae.commands.preparing import preparation
from pyrovae.data import ImageData, ImageFolder
from pyrovae.likelihoods.binary import DynamicBinarization, FixedBinarization
from pyrovae.programs.exporting import Exported

#: Data sets of photographs, and likelihoods.
PHOTOGRAPHS: dict[str, dict[str, Any]] = {
    "the centre": {},
    "not square": {"image_size": (20, 12)},
    "grey": {"channels": 1},
    "a crop": {"crop": 30},
    "black borders": {"pad": True, "image_size": (12, 20)},
}
LIKELIHOODS = {
    "grey values": Normal(0.1),
    "a threshold": Bernoulli(ThresholdBinarization(0.3)),
    "a draw": Bernoulli(DynamicBinarization()),
}


def vae_of(data: ImageData, likelihood: Any = None) -> VAE:
    how = {"prior": StandardNormal, "encoder": MLPEncoder, "decoder": MLPDecoder}
    vae = VAE.for_images(data, 2, likelihood=likelihood or Normal(0.1), **how)
    vae.data = data
    return vae


def prepare_of(vae: VAE) -> Any:
    (code,) = re.findall(r"```python\n(.*?)```", "\n".join(preparation(vae)), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    return scope["prepare"]


def photographs(folder: Path) -> list[Path]:
    """Upright and turned files of many kinds, whose sides are odd and not equal."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (47, 61, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(pixels)
    for mode in ("RGB", "RGBA", "L", "LA", "P"):
        image.convert(mode).save(folder / f"{mode}.png", exif=exif)
    image.convert("RGB").save(folder / "turned.jpg", exif=exif)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize("given", PHOTOGRAPHS.values(), ids=PHOTOGRAPHS)
def test_photographs_are_prepared_as_for_training(
    given: dict[str, Any], likelihood: Any, tmp_path: Path
) -> None:
    vae = vae_of(ImageFolder(str(tmp_path), **{"image_size": 16, **given}), likelihood)
    prepare = prepare_of(vae)
    for path in photographs(tmp_path):
        torch.manual_seed(0)
        expected = vae.observe(vae.preprocess(path)[None])
        torch.manual_seed(0)
        assert torch.equal(prepare(Image.open(path)), expected), path.name


@pytest.mark.parametrize(
    ("channels", "levels"), [(1, (100.5, 4095)), (3, (-1, 1)), (5, (0, 65535)), (5, None)]
)
def test_arrays_are_prepared_as_for_training(
    channels: int, levels: tuple[float, float] | None
) -> None:
    random = np.random.default_rng(0)
    low, high = levels or (0, 255)
    kind = np.uint8 if levels is None else np.float32
    images = random.uniform(low, high, (40, channels, 8, 12)).astype(kind)
    given = {} if levels is None else {"black": low, "white": high}
    vae = vae_of(ArrayData(images, channels_last=False, **given))
    prepare = prepare_of(vae)
    for shape in ((8, 12), (21, 34)):
        values = random.uniform(low - 10, high + 10, (channels, *shape)).astype(kind)
        expected = vae.observe(torch.tensor(vae.data.preprocess(values))[None])  # type: ignore[union-attr]
        assert torch.equal(prepare(values), expected)


class Inverted(SyntheticFaces):
    """A data set with its own way to prepare images."""

    def preprocess(self, image: Any) -> np.ndarray:
        return 255 - super().preprocess(image)


@pytest.mark.parametrize(
    "vae",
    [
        vae_of(Inverted(image_size=16)),
        vae_of(SyntheticFaces(image_size=16), Bernoulli(FixedBinarization())),
        vae_of(SyntheticFaces(image_size=16), Masked(Normal(0.1), missing=0)),
    ],
    ids=["data", "binarisation", "mask"],
)
def test_what_a_few_lines_cannot_do_is_left_to_the_package(vae: VAE) -> None:
    said = "`vae.observe(vae.preprocess(image)[None])` of pyrovae prepares an image."
    assert list(preparation(vae)) == [said]
    program = Exported(b"", "Normal", (3, 16, 16), {"loc": (2,)}, 0.0)
    text = readme(vae, {"encoder": program}, [])
    assert f"## Prepare an image\n\n{said}\n" in text and " is black, 1 white" in text
