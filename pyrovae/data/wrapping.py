"""Arrays, tensors and data sets of PyTorch as data sets of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pyrovae.data.arrays import ArrayData
from pyrovae.data.base import SPLITS, ImageData
from pyrovae.data.torch_dataset import TorchDataset
from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.log import warn

__all__ = ["as_image_data"]


def as_image_data(data: Any) -> ImageData:
    """Returns a data set of images: the given one, or one made from arrays.

    Args:
        data: an `ImageData`; an array or tensor of images, a mapping of splits to these, or a
            `TensorDataset` of images and possibly labels, as `ArrayData` takes them; a map-style
            data set of PyTorch, or a mapping of splits to these, as `TorchDataset` takes them; or
            a `DataLoader`, of which only the data set is used.

    Raises:
        InputError: for a `TensorDataset` of more than two tensors.
        TypeError: for any other object, such as the path of a folder.

    Example:
        >>> as_image_data(np.zeros((10, 8, 8), np.uint8)).image_shape
        (1, 8, 8)
    """
    if isinstance(data, DataLoader):
        warn(
            "only the data set of a DataLoader is used: Trainer(batch_size=, seed=) sets the "
            "size and the order of the batches"
        )
        data = data.dataset
    if isinstance(data, Mapping) and isinstance(data.get("train"), Dataset):
        if others := {*map(str, data)} - {*SPLITS}:
            raise InputError(f"data: {', '.join(sorted(others))}: allowed are train, val and test")
        return TorchDataset(data["train"], data.get("val"), data.get("test"))
    if isinstance(data, np.ndarray | Tensor) or (isinstance(data, Mapping) and "train" in data):
        return ArrayData(data)
    if isinstance(data, TensorDataset):
        if len(data.tensors) > 2:
            raise InputError(
                f"a TensorDataset of {len(data.tensors)} tensors: allowed are images and labels; "
                "ArrayData(images, labels, attributes) takes more"
            )
        return ArrayData(data.tensors[0], labels=data.tensors[1] if data.tensors[1:] else None)
    if isinstance(data, Dataset):
        return TorchDataset(data)
    hint = "; a folder of images is ImageFolder(folder), a list of images is ArrayData(list)"
    check_kind("data", data, ImageData, hint)
    found: ImageData = data
    return found
