"""`pyrovae inpaint`: the picture, and masks that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import Namespace
from PIL import Image

from pyrovae import ImageFolder
from pyrovae.commands.inpaint import about, read_mask, sheet
from pyrovae.inspection.inpainting import Completions
from tests.support.commands import mask, refusal, run
from tests.support.subjects import shortened


@pytest.mark.slow
def test_completions_are_drawn_and_described(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.png"
    own = mask(tmp_path / "mask.png", 16, 16)
    options = [str(trained), "test:2", "--num=3", "--draws=60", f"--out={out}"]
    with shortened():
        assert run("inpaint", [*options, f"--mask={own}"], monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "128 of 256 pixels are missing" in printed and "effective draws of 60" in printed
    with Image.open(out) as picture:
        assert picture.width > 6 * 16
    Image.effect_noise((40, 40), 80).convert("RGB").save(photo := tmp_path / "photo.png")
    options = [str(trained), str(photo), *options[2:]]
    with shortened():
        assert run("inpaint", [*options, f"--mask={mask(own, 40, 40)}"], monkeypatch) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_of_the_size_of_the_file_is_that_of_the_stored_image(
    channels: int, tmp_path: Path
) -> None:
    """Whatever the value range of the files is, and also for a photograph on its side."""
    upright = np.zeros((48, 32), np.uint8)
    upright[:24] = 255  # The upper half, as viewers show it.
    exif = Image.Exif()
    exif[0x0112] = 6  # Viewers turn the stored rows by a quarter.
    stored = Image.fromarray(np.rot90(upright)).convert("RGB")
    stored.save(tmp_path / "photo.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "mask.png")
    data = ImageFolder(str(tmp_path), 16, channels, crop=30, black=0, white=4000)
    seen = read_mask(str(tmp_path / "mask.png"), str(tmp_path / "photo.png"), data)
    whole = data.preprocess(tmp_path / "photo.png")
    assert torch.equal(seen, torch.from_numpy(whole[0]) < 8)
    assert not seen[:7].any() and seen[9:].all()


@pytest.mark.slow
def test_masks_that_do_not_fit_are_refused_in_one_line(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wide = mask(tmp_path / "wide.png", 20, 16)
    (broken := tmp_path / "broken.png").write_bytes(b"no image")
    for more, said in (
        ([], "--mask: must be given, image whose white pixels are missing"),
        ([f"--mask={wide}"], "is 16x20 (height x width), allowed is 16x16"),
        ([f"--mask={broken}"], "broken.png: cannot be read as an image"),
        ([f"--mask={tmp_path / 'none.png'}"], "none.png: no such file"),
        ([f"--mask={wide}", "--out=a.jpg"], "--out: must end in .png"),
    ):
        capsys.readouterr()
        command = [str(trained), "test:2", *more]
        assert said in refusal("inpaint", command, monkeypatch, capsys)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_spread_of_a_pixel_is_grey_and_its_largest_value_is_white(channels: int) -> None:
    torch.manual_seed(0)
    image, seen = torch.randint(0, 256, (channels, 8, 8), dtype=torch.uint8), torch.ones(8, 8) > 0
    seen[2:5, 2:5] = False
    deviation = torch.rand(channels, 8, 8) * ~seen / 10
    draws = torch.zeros(9, 2), torch.ones(9) / 9, 0.1, 9.0, float("nan")
    found = Completions(
        torch.rand(2, channels, 8, 8), torch.rand(channels, 8, 8), deviation, *draws
    )
    drawn = sheet(found, image, seen, Namespace(num=2))[..., -8:]
    assert len(drawn) == channels and (drawn == drawn[:1]).all()
    spread = 255 * deviation.square().mean(0).sqrt()
    size, most = spread[~seen].square().mean().sqrt(), spread.max()
    (line,) = (line for line in about(found, seen) if "deviation" in line)
    assert f"is {size:.1f} of 255 grey levels" in line and f"largest is {most:.1f}," in line
    assert ("channels" in line) == (channels > 1)
