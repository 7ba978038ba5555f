from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from pyrovae import ArrayData, SyntheticFaces, TorchDataset
from pyrovae.data import as_image_data
from pyrovae.utils.errors import InputError

IMAGES = torch.rand(20, 3, 8, 8)
LABELS = torch.arange(20)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (IMAGES, ArrayData),
        (IMAGES.numpy(), ArrayData),
        ({"train": IMAGES, "test": IMAGES[:3]}, ArrayData),
        (TensorDataset(IMAGES), ArrayData),
        (TensorDataset(IMAGES, LABELS), ArrayData),
        (Subset(TensorDataset(IMAGES, LABELS), range(9)), TorchDataset),
    ],
)
def test_arrays_and_data_sets_are_taken_as_they_are(given: Any, kind: type) -> None:
    data = as_image_data(given)
    assert type(data) is kind and data.image_shape == (3, 8, 8)
    labelled = isinstance(given, Subset) or len(getattr(given, "tensors", ())) == 2
    assert data.split("train").attribute_names == (("label",) if labelled else ())


def test_a_data_set_of_images_stays() -> None:
    faces = SyntheticFaces()
    assert as_image_data(faces) is faces


def test_the_data_set_of_a_loader_is_taken_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = as_image_data(DataLoader(TensorDataset(IMAGES, LABELS), batch_size=3))
    assert type(data) is ArrayData and "only the data set of a DataLoader is used" in caplog.text
    np.testing.assert_array_equal(
        data.split("train").images,
        as_image_data(TensorDataset(IMAGES, LABELS)).split("train").images,
    )


def test_others_are_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="a TensorDataset of 3 tensors: allowed are images and"):
        as_image_data(TensorDataset(IMAGES, LABELS, LABELS))
    for other in ("folder", [np.zeros((8, 8))], {"test": IMAGES}):
        with pytest.raises(TypeError, match="data must be of the kind ImageData, got"):
            as_image_data(other)


def test_a_mapping_of_data_sets_gives_the_splits() -> None:
    whole = TensorDataset(IMAGES, LABELS)
    parts = {"train": Subset(whole, range(5)), "val": Subset(whole, [5])}
    data = as_image_data(parts)
    assert isinstance(data, TorchDataset)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [4, 1, 1]
    with pytest.raises(InputError, match="^data: valid: allowed are train, val and test"):
        as_image_data({**parts, "valid": whole})


def test_a_loader_is_no_data_set() -> None:
    with pytest.raises(InputError, match=r"^train: Streamed has no .*\(of a DataLoader, its attr"):
        TorchDataset(Streamed(TensorDataset(IMAGES)))


class Streamed:
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
