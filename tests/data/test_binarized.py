from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyrovae.data import StaticMNIST
from pyrovae.utils.errors import InputError

PARTS = {"train": "train", "val": "valid", "test": "test"}


def bits(count: int = 3) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 2, (count, 784), np.uint8)


@pytest.mark.parametrize("kind", ["packed", "rows", "amat"])
def test_reads_each_form(kind: str, tmp_path: Path) -> None:
    rows = {part: bits(count) for count, part in enumerate(PARTS.values(), 2)}
    path = tmp_path
    if kind == "amat":
        for part, values in rows.items():
            np.savetxt(tmp_path / f"binarized_mnist_{part}.amat", values, fmt="%d")
    else:
        path = tmp_path / "static.npz"
        packed = {part: np.packbits(values, axis=1) for part, values in rows.items()}
        np.savez(path, **(packed if kind == "packed" else rows))
    for name, part in PARTS.items():
        split = StaticMNIST(str(path)).split(name)
        assert split.images.dtype == np.uint8 and split.images.shape[1:] == (1, 28, 28)
        assert (split.images.reshape(-1, 784) == 255 * rows[part]).all()
        assert len(split.names) == len(rows[part]) and split.attributes.shape[1] == 0


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.npz: no such file"):
        StaticMNIST(str(tmp_path / "nowhere.npz")).split("train")
    with pytest.raises(InputError, match=r"binarized_mnist_train\.amat: no such file"):
        StaticMNIST(str(tmp_path)).split("train")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(InputError, match="cannot be read as binarised MNIST"):
        StaticMNIST(str(tmp_path / "text.npz")).split("train")
    np.savez(tmp_path / "other.npz", train=np.full((2, 784), 7, np.uint8))
    with pytest.raises(InputError, match="each row must hold 784 zeros and ones"):
        StaticMNIST(str(tmp_path / "other.npz")).split("train")
    with pytest.raises(InputError, match="cannot be read"):
        StaticMNIST(str(tmp_path / "other.npz")).split("test")


@pytest.mark.slow
def test_the_published_files(real_data: Path) -> None:
    data = StaticMNIST(str(real_data / "binarized_mnist.npz"))
    assert [len(data.split(name)) for name in PARTS] == [50_000, 10_000, 10_000]
    assert 0.1 < (data.split("test").images == 255).mean() < 0.15
