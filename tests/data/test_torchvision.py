from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrovae.data import TorchvisionImages
from pyrovae.utils.errors import InputError


def idx(values: np.ndarray) -> bytes:
    header = [2049 if values.ndim == 1 else 2051, *values.shape]
    return np.array(header, ">i4").tobytes() + values.astype(np.uint8).tobytes()


@pytest.fixture
def small_mnist(tmp_path: Path) -> Path:
    """Twenty training and five test images; image `i` has value and label `i`."""
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 5)):
        images = np.broadcast_to(np.arange(count)[:, None, None], (count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count)))
    return tmp_path


def test_last_training_images_validate(small_mnist: Path) -> None:
    data = TorchvisionImages("MNIST", str(small_mnist), val_size=6)
    expected = {"train": range(14), "val": range(14, 20), "test": range(5)}
    for name, numbers in expected.items():
        split = data.split(name)
        assert split.images.shape == (len(numbers), 1, 28, 28) and split.images.dtype == np.uint8
        assert split.images[:, 0, 9, 9].tolist() == split.attributes[:, 0].tolist() == [*numbers]
        assert split.attribute_names == ("label",) and split.attributes.dtype == np.float32
        assert len(split.names) == len(numbers)


def test_resized_through_the_cache(small_mnist: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    data = TorchvisionImages(
        "MNIST", str(small_mnist), image_size=32, val_size=6, cache_dir=str(cache)
    )
    split = data.split("val")
    assert data.image_shape == (1, 32, 32) and isinstance(split.images, np.memmap)
    assert split.images[:, 0, 9, 9].tolist() == split.attributes[:, 0].tolist() == [*range(14, 20)]
    assert [path.name for path in cache.glob("*/*")] == ["val"]


def test_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.arange(3 * 1024, dtype=np.int64).reshape(1, -1).repeat(4, 0) // 13 % 256
    batch = {"data": pixels.astype(np.uint8), "labels": [0, 1, 2, 3]}
    for name, _ in datasets.CIFAR10.train_list + datasets.CIFAR10.test_list:
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcd")}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    split = TorchvisionImages("CIFAR10", str(tmp_path), val_size=3).split("train")
    np.testing.assert_array_equal(split.images[0].reshape(-1), batch["data"][0])
    assert len(split) == 17
    resized = TorchvisionImages("CIFAR10", str(tmp_path), image_size=16, val_size=3).split("val")
    assert resized.images.shape == (3, 3, 16, 16)


def test_constructing_reads_nothing() -> None:
    data = TorchvisionImages("FashionMNIST", "/nowhere", flip=True)
    assert data.image_shape == (1, 28, 28) and data.flip and data.val_size == 10_000
    assert TorchvisionImages("CIFAR10", "/nowhere", image_size=64).image_shape == (3, 64, 64)
    assert data.preprocess(Image.new("RGB", (90, 70))).shape == (1, 28, 28)


@pytest.mark.parametrize("name", ["MNIST", "KMNIST", "CIFAR10", "CIFAR100", "USPS"])
def test_absent_data(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        TorchvisionImages(name, str(tmp_path / "none")).split("train")
    message = str(caught.value)
    assert str(tmp_path / "none") in message and name in message
    assert "--data.download true" in message and "\n" not in message


def test_damaged_data(small_mnist: Path) -> None:
    path = small_mnist / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="MNIST cannot be loaded: ") as caught:
        TorchvisionImages("MNIST", str(small_mnist)).split("train")
    assert "\n" not in str(caught.value)


def test_failing_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def offline(self: object) -> None:
        raise RuntimeError("Error downloading:\nno route")

    monkeypatch.setattr(datasets.MNIST, "download", offline)
    with pytest.raises(InputError, match="cannot be loaded: Error downloading: no route"):
        TorchvisionImages("MNIST", str(tmp_path), download=True).split("train")


def test_too_many_for_validation(small_mnist: Path) -> None:
    with pytest.raises(InputError, match="val_size 20: allowed is less than 20"):
        TorchvisionImages("MNIST", str(small_mnist), val_size=20).split("val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "mnist"}, "'mnist': allowed are CIFAR10, .*MNIST"),
        ({"name": "MNIST", "image_size": 0}, "image_size 0"),
        ({"name": "MNIST", "val_size": 0}, "val_size 0"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TorchvisionImages(root="/nowhere", **options)


def test_wrong_split(small_mnist: Path) -> None:
    with pytest.raises(InputError, match="allowed are train, val, test"):
        TorchvisionImages("MNIST", str(small_mnist)).split("dev")


@pytest.mark.slow
def test_real_digits(real_data: Path) -> None:
    data = TorchvisionImages("MNIST", str(real_data))
    counts = {name: len(data.split(name)) for name in ("train", "val", "test")}
    assert counts == {"train": 50_000, "val": 10_000, "test": 10_000}
    assert data.split("train").attributes[:5, 0].tolist() == [5, 0, 4, 1, 9]
