"""Reports on images of any number of channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import VAE, DiagonalNormal, Engine, ImageFolder, MLPDecoder, MLPEncoder
from pyrovae.data import Split
from pyrovae.inspection.report import inspect
from pyrovae.inspection.subject import Subject
from pyrovae.likelihoods import SharedScaleNormal
from pyrovae.priors import StandardNormal
from tests.support.subjects import EFFORT

#: Sections that show images in each of the ways there are; the next one's pixels are looked at.
PICTURED = ("posterior", "traversals", "paths", "attributes")


def subject(channels: int, show: tuple[int, ...], latents: int = 3) -> Subject:
    torch.manual_seed(0)
    shape, rng = (channels, 8, 8), np.random.default_rng(0)
    images = rng.integers(0, 256, (40, *shape), np.uint8)
    attributes = images[:, :1, 0, 0].astype(np.float32)
    split = Split(images, [str(i) for i in range(40)], attributes, ("first",))
    vae = VAE(
        encoder=MLPEncoder(shape, 2 * latents, hidden=[8]),
        decoder=MLPDecoder(shape, latents, channels, hidden=[8]),
        prior=StandardNormal(latents),
        likelihood=SharedScaleNormal(),
        posterior=DiagonalNormal(latents),
    )
    vae.data = ImageFolder("/nowhere")
    vae.data.show = show
    shown = split.take(range(2))
    return Subject(vae, split, Engine("cpu", "fp32"), shown=shown, train=split, budget=EFFORT)


@pytest.mark.slow
@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize(("channels", "show"), [(2, ()), (5, (4, 0, 2))])
def test_every_section_shows_images_of_any_number_of_channels(
    channels: int, show: tuple[int, ...], tmp_path: Path, unpainted: pytest.MonkeyPatch
) -> None:
    own = subject(channels, show)
    report = inspect(own, tmp_path, PICTURED)
    assert not report.failed and set(report.sections) == set(PICTURED)
    unpainted.undo()
    assert not inspect(own, tmp_path, ["typical"]).failed
    with Image.open(tmp_path / "typical_typical_pictures.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    coloured = (np.ptp(pixels, axis=2) > 60).mean() > 0.05
    assert coloured == (len(show) == 3)


@pytest.mark.slow
def test_a_plane_of_images_of_five_channels(tmp_path: Path) -> None:
    assert not inspect(subject(5, (), latents=2), tmp_path, ["map"]).failed
