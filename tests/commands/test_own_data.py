"""Runs on the user's arrays: what `config.yaml` records, and what opens again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import Subset, TensorDataset

import pyrovae
from pyrovae import VAE, MLPDecoder, MLPEncoder, Trainer
from tests.support.commands import TINY, refusal, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

DEEP = np.random.default_rng(0).integers(0, 4096, (40, 16, 16)).astype(np.uint16)
OPTIONS = [option for option in TINY if not option.startswith("--data.")]
AUTO = ["--data=ArrayData", "--data.black=auto", "--data.white=auto"]


def data_of(root: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((root / "config.yaml").read_text())["data"]["init_args"])


def test_a_run_on_a_file_records_what_its_images_determine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", DEEP)
    root = tmp_path / "run"
    data = [*AUTO, f"--data.path={tmp_path / 'a.npy'}"]
    line = [*data, *OPTIONS, f"--run_dir={root}"]
    assert run("prepare_data", data, monkeypatch) == 0
    found = [own for own in capsys.readouterr().out.splitlines() if own.startswith("found: ")]
    assert run("train", line, monkeypatch) == 0
    first = data_of(root)
    names = ("black", "white", "image_shape")
    assert found == [f"found: --data.{name} {first[name]}" for name in names]
    assert first["image_shape"] == [1, 16, 16]
    assert 0 < first["black"] < 20 and 4075 < first["white"] < 4095
    # The same command line goes on, although it says "auto" again.
    again = [*line, "--resume=auto", "--trainer.epochs=2"]
    assert run("train", again, monkeypatch) == 0
    assert data_of(root) == first
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    data = pyrovae.load(root).data
    assert data is not None
    expected = np.rint(
        np.clip((DEEP[3] - first["black"]) * (255 / (first["white"] - first["black"])), 0, 255)
    )
    np.testing.assert_array_equal(data.preprocess(DEEP[3])[0], expected)  # type: ignore[arg-type]
    assert run("sample", [str(root), "--num=2"], monkeypatch) == 0
    capsys.readouterr()
    more = [f"--resume={root}", "--trainer.epochs=3"]
    assert "a.npy: no such file" in refusal("train", more, monkeypatch, capsys)
    assert run("train", [*more, f"--data.path={tmp_path / 'b.npy'}"], monkeypatch) == 0
    assert run("train", [*more, "--data.white=4000"], monkeypatch) == 2


@pytest.mark.parametrize("kind", ["array", "data set"])
def test_a_run_on_images_in_memory_opens_without_them(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = TensorDataset(torch.rand(40, 3, 16, 16), torch.arange(40) % 2)
    images: Any = tensors if kind == "array" else Subset(tensors, range(30))
    parts = {"encoder": MLPEncoder, "decoder": MLPDecoder}
    vae = VAE.for_images(images, 2, **parts)  # type: ignore[arg-type]
    trainer = Trainer(epochs=1, batch_size=10)
    trainer.fit(vae, images)
    assert "config.yaml" not in caplog.text
    trainer.fit(vae, images, run=tmp_path / "run")
    name = "data.images and data.labels" if kind == "array" else "data.dataset"
    said = [r.getMessage() for r in caplog.records if "config.yaml cannot hold" in r.getMessage()]
    assert len(said) == 1 and f"cannot hold what is in memory ({name}): the run" in said[0]
    opened = pyrovae.load(tmp_path / "run")
    assert opened.data is not None and opened.data.image_shape == (3, 16, 16)
    image: Any = torch.rand(3, 16, 16)
    assert vae.data is not None
    np.testing.assert_array_equal(opened.data.preprocess(image), vae.data.preprocess(image))
    with pytest.raises(pyrovae.InputError, match="does not store|TorchDataset has no images"):
        opened.data.split("test")
    # What the warning proposes.
    file, config = tmp_path / "images.npz", tmp_path / "run" / "config.yaml"
    count = 40 if kind == "array" else 30
    np.savez(file, x=tensors.tensors[0][:count].numpy(), y=tensors.tensors[1][:count].numpy())
    content = yaml.safe_load(config.read_text())
    named = {"path": str(file), "key": "x", "label_key": "y"}
    content["data"] = {"class_path": "pyrovae.ArrayData", "init_args": named}
    config.write_text(yaml.safe_dump(content))
    again = pyrovae.load(tmp_path / "run").data
    assert again is not None
    for split in ("train", "test"):
        expected = vae.data.split(split)
        np.testing.assert_array_equal(again.split(split).images, expected.images)
        np.testing.assert_array_equal(again.split(split).attributes, expected.attributes)
