from __future__ import annotations

import itertools
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision import datasets, transforms

from pyrovae import TorchDataset
from pyrovae.data import SPLITS, torch_dataset
from pyrovae.utils.errors import InputError


class Numbered(Dataset[Any]):
    """Item `i` is an image of grey value `i`, and the label `i % 3`."""

    def __init__(self, count: int = 60, reads: list[int] | None = None) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def image(self, item: int) -> Any:
        return torch.full((2, 4, 5), item / 255)

    def __getitem__(self, item: int) -> Any:
        return self.image(item), item % 3


class Arrays(Numbered):
    def image(self, item: int) -> Any:
        return np.full((4, 5, 2), item, np.uint8)


class Pictures(Numbered):
    def image(self, item: int) -> Any:
        return Image.new("RGB", (5, 4), (item, item, item))


class Odd(Numbered):
    def image(self, item: int) -> Any:
        return torch.zeros(2, 4 + (item == 7), 5)


class Random(Numbered):
    def image(self, item: int) -> Any:
        return torch.rand(2, 4, 5)


class Deep(Numbered):
    def image(self, item: int) -> Any:
        return torch.arange(40).reshape(2, 4, 5).float() - 20 + item


class Broken(Numbered):
    def image(self, item: int) -> Any:
        if item == 7:
            raise OSError("the disk is gone")
        return super().image(item)


class Unpicklable(Numbered):
    def __init__(self) -> None:
        super().__init__()
        self.own = lambda item: item


class Streamed(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield 1


@pytest.mark.parametrize("kind", [Numbered, Arrays, Pictures, Unpicklable])
def test_each_item_is_in_one_split_with_its_label(kind: type[Numbered]) -> None:
    data = TorchDataset(kind())
    assert data.image_shape == (3 if kind is Pictures else 2, 4, 5)
    seen = []
    for name in SPLITS:
        split = data.split(name)
        items = split.images[:, 0, 0, 0].astype(int)
        assert (split.images == items[:, None, None, None]).all()
        assert split.attribute_names == ("label",)
        np.testing.assert_array_equal(split.attributes[:, 0], items % 3)
        seen += items.tolist()
    assert sorted(seen) == list(range(60))


def test_given_splits_and_several_labels() -> None:
    class Many(Numbered):
        def __getitem__(self, item: int) -> Any:
            return self.image(item), torch.arange(2) + item

    data = TorchDataset(Many(), val=Many(5), test=Subset(Many(), [3, 2]))
    assert {name: len(data.split(name)) for name in SPLITS} == {"train": 60, "val": 5, "test": 2}
    split = data.split("test")
    assert split.attribute_names == ("label_0", "label_1")
    assert split.attributes.tolist() == [[3, 4], [2, 3]]


class Changing(Numbered):
    """A data set whose pickle does not hold what it reads."""

    label, change = 0, 0

    def __getitem__(self, item: int) -> Any:
        # The first images are the same, as those that are compared may be.
        more = self.change / 255 if item % 7 == 3 else 0
        return self.image(item) + more, item % 3 + self.label


def test_each_object_reads_its_items_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> tuple[int, int]:
        split = TorchDataset(Changing(), cache_dir=str(tmp_path), val_fraction=0).split("train")
        return int(split.attributes.max()), int(split.images.max() >= 100)

    assert read() == (2, 0)
    monkeypatch.setattr(Changing, "label", 5)
    assert read() == (7, 0)
    monkeypatch.setattr(Changing, "change", 100)
    assert read() == (7, 1)


def test_processes_of_one_torchrun_share_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    read = []
    own = Changing.image
    monkeypatch.setattr(Changing, "image", lambda self, n: read.append(n) or own(self, n))
    for _ in range(2):
        monkeypatch.setattr(torch_dataset, "_made", itertools.count())
        monkeypatch.setattr(torch_dataset, "_own", uuid.uuid4().hex)
        TorchDataset(Changing(), cache_dir=str(tmp_path)).split("val")
    assert 60 < len(read) < 120


def test_stored_images_are_used_again_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = TensorDataset(torch.rand(30, 1, 4, 4))  # Its pickle holds addresses.
    options: dict[str, Any] = {"cache_dir": str(tmp_path), "reuse": True}
    first = TorchDataset(tensors, **options).split("train")
    read: list[int] = []
    get = TensorDataset.__getitem__

    def counting(self: TensorDataset, item: int) -> Any:
        read.append(item)
        return get(self, item)

    monkeypatch.setattr(TensorDataset, "__getitem__", counting)
    same = TensorDataset(tensors.tensors[0].clone())
    again = TorchDataset(same, **options).split("train")
    assert len(read) < 20
    np.testing.assert_array_equal(first.images, again.images)
    other = TensorDataset(1 - tensors.tensors[0])
    assert (TorchDataset(other, **options).split("train").images != first.images).any()


def test_images_are_converted_to_a_given_shape_only() -> None:
    assert TorchDataset(Odd(), image_shape=(2, 4, 5)).split("train").images.shape[1:] == (2, 4, 5)
    assert TorchDataset(Pictures(), image_shape=(1, 8, 8)).split("val").images.shape[1:] == (
        1,
        8,
        8,
    )
    with pytest.raises(InputError, match=r"train item 7: an image of shape \(2, 5, 5\)"):
        TorchDataset(Odd()).split("train")


def test_the_value_range_is_given_or_measured() -> None:
    with pytest.raises(InputError, match="values of float32 from -20 to 19, allowed are 0 to 1"):
        TorchDataset(Deep()).split("train")
    data = TorchDataset(Deep(), black=-20, white=79)
    item = int(data.split("train").names[5][-6:])
    expected = np.rint((np.arange(40) + item) * 255 / 99).reshape(2, 4, 5)
    np.testing.assert_array_equal(data.split("train").images[5], expected)
    np.testing.assert_array_equal(data.preprocess(Deep().image(item)), expected)
    found = TorchDataset(Deep(), black="auto", white="auto").found()
    assert (found["black"], found["white"]) == (-19, 77)


def test_a_random_transform_is_named(caplog: pytest.LogCaptureFixture) -> None:
    TorchDataset(Random()).split("train")
    assert "returns a different image at each read" in caplog.text
    assert (
        "and give augment=, such as Shift(2), to change training images at random" in caplog.text
    )


class Labelled(Numbered):
    def __init__(self, label: Any) -> None:
        super().__init__()
        self.label = label

    def __getitem__(self, item: int) -> Any:
        return self.image(item), self.label


@pytest.mark.parametrize(
    ("label", "kind"),
    [("cat", "str"), ({"box": 1}, "dict"), (["a", "b"], "list"), (torch.zeros(2, 2), "Tensor")],
)
def test_labels_that_are_no_numbers_are_told(
    label: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = TorchDataset(Labelled(label), val=Labelled(label))
    assert not any(data.split(name).attribute_names for name in SPLITS)
    lines = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in lines if "labels that are not numbers are not used" in line]
    assert f"the first is {' '.join(str(label).split())} of the type {kind}; allowed are" in line
    caplog.clear()
    TorchDataset(Labelled(None)).split("train")
    assert "are not used" not in caplog.text


class Sized(Numbered):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def image(self, item: int) -> Any:
        return torch.rand(self.shape, generator=torch.Generator().manual_seed(item))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((16, 12, 3), (3, 16, 12)),
        ((16, 12, 4), (4, 16, 12)),
        ((16, 12, 1), (1, 16, 12)),
        ((3, 12, 3), (3, 12, 3)),
        ((4, 12, 3), (4, 12, 3)),
        ((16, 12, 2), (16, 12, 2)),
        ((16, 3, 3), (16, 3, 3)),
        ((16, 12), (1, 16, 12)),
    ],
)
def test_the_channels_of_a_tensor_may_be_last(
    shape: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    dataset = Sized(*shape)
    data = TorchDataset(dataset)
    split = data.split("val")
    assert data.image_shape == split.images.shape[1:] == expected
    image = (dataset.image(int(split.names[0][-6:])) * 255).round().byte()
    expected_image = image.permute(2, 0, 1) if shape[-1:] == expected[:1] != shape[:1] else image
    np.testing.assert_array_equal(split.images[0], expected_image.reshape(expected))
    np.testing.assert_array_equal(data.preprocess(image), split.images[0])


def test_unreadable_items_are_named_or_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match="train item 7: OSError: the disk is gone"):
        TorchDataset(Broken()).split("train")
    data = TorchDataset(Broken(), on_error="skip")
    assert sum(len(data.split(name)) for name in SPLITS) == 59
    assert "1 of 60 images are left out" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Streamed(), "train: Streamed has no length or no items"),
        (Numbered(0), "train: Numbered holds no images"),
        ([{"x": 1}], r"an item's image is dict of shape \(\)"),
        (None, "TorchDataset has no images"),
    ],
)
def test_other_data_sets_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        TorchDataset(given).split("train")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_mnist_in_processes_is_as_its_tensor(real_data: Path) -> None:
    """As many items as forked processes read."""
    mnist = datasets.MNIST(str(real_data), transform=transforms.ToTensor())
    split = TorchDataset(Subset(mnist, range(2000))).split("train")
    rows = [int(name[-6:]) for name in split.names]
    np.testing.assert_array_equal(split.images[:, 0], mnist.data[rows].numpy())
    np.testing.assert_array_equal(split.attributes[:, 0], mnist.targets[rows].numpy())


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("I;16", 1), ("LAB", 3), ("RGBA", 3)])
def test_pillow_images_have_the_channels_of_their_mode(mode: str, channels: int) -> None:
    items = [(Image.new(mode, (5, 4)), 0) for _ in range(10)]
    data = TorchDataset(Subset(items, range(10)))  # type: ignore[arg-type]
    assert data.image_shape == data.split("test").images.shape[1:] == (channels, 4, 5)
