"""Small labelled images from torchvision: MNIST, CIFAR10 and similar data sets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import (
    Size,
    Source,
    Split,
    check_choice,
    check_split,
    checked_path,
    fingerprint,
    image_extent,
)
from pyrovae.data.cached import CachedImages
from pyrovae.data.layout import channels_first
from pyrovae.utils.errors import InputError

__all__ = ["TorchvisionImages"]

# Image shape and usual number of validation images: networks are built before files are read.
_KNOWN = {
    "CIFAR10": ((3, 32, 32), 5_000),
    "CIFAR100": ((3, 32, 32), 5_000),
    "FashionMNIST": ((1, 28, 28), 10_000),
    "KMNIST": ((1, 28, 28), 10_000),
    "MNIST": ((1, 28, 28), 10_000),
    "USPS": ((1, 16, 16), 1_000),
}


class TorchvisionImages(CachedImages):
    """A data set of torchvision, such as MNIST, with one attribute, `label`.

    Use it for MNIST and similar data sets.

    The last training images form the validation split. The test split is that of the data set.

    Args:
        name: `CIFAR10`, `CIFAR100`, `FashionMNIST`, `KMNIST`, `MNIST` or `USPS`.
        root: the folder where torchvision stores the data set.
        download: whether to download the data set if it is missing.
        image_size: side of the images to resize to, or their height and width, as `28 20` or
            `28x20`; by default images are not resized.
        flip: whether training mirrors images at random; wrong for digits and letters.
        val_size: number of training images for validation; by default 10,000 for MNIST,
            FashionMNIST and KMNIST, 5,000 for CIFAR10 and CIFAR100, and 1,000 for USPS.
        limit: number of training images to use, drawn at random; by default all. Validation and
            test images stay the same.
        augment: further random changes of training images: `Shift`, `Rotate`, `Crop`,
            `Colour`.
        cache_dir: the folder of resized images; by default `PYROVAE_CACHE`, or `pyrovae` in the
            user's cache folder.
    """

    def __init__(
        self,
        name: str,
        root: str,
        download: bool = False,
        image_size: Size | None = None,
        flip: bool = False,
        val_size: int | None = None,
        limit: int | None = None,
        augment: Augmentation | Sequence[Augmentation] = (),
        cache_dir: str | None = None,
    ) -> None:
        check_choice("name", name, _KNOWN)
        if val_size is not None and val_size < 1:
            raise InputError(f"val_size {val_size}: allowed is 1 or more")
        shape, usual = _KNOWN[name]
        self.name = name
        self.root = checked_path("root", root)
        self.download = download
        self.val_size = usual if val_size is None else val_size
        size = shape[1:] if image_size is None else image_extent(image_size)
        self.resized = size != shape[1:]
        super().__init__(
            (shape[0], *size), flip=flip, augment=augment, limit=limit, cache_dir=cache_dir
        )

    def split(self, name: str) -> Split:
        """Images and labels of `"train"`, `"val"` or `"test"`."""
        check_split(name)
        return super().split(name) if self.resized else self.limited(name, self._stored(name))

    def _stored(self, name: str) -> Split:
        """A split at the image size of torchvision's files."""
        images, labels = self._load(train=name != "test")
        if name != "test":
            if self.val_size >= len(images):
                raise InputError(
                    f"val_size {self.val_size}: allowed is less than {len(images)}, "
                    f"the training images of {self.name}"
                )
            first = len(images) - self.val_size
            part = slice(None, first) if name == "train" else slice(first, None)
            images, labels = images[part], labels[part]
        names = [str(number) for number in range(len(images))]
        return Split(images, names, labels, ("label",))

    def settings(self) -> dict[str, Any]:
        """The data set, the image size, and the number of validation images."""
        return {
            "name": self.name,
            "root": str(self.root.absolute()),
            "image_shape": list(self.image_shape),
            "val_size": self.val_size,
        }

    def _source(self, split: str) -> Source:
        from PIL import Image

        stored = self._stored(split)
        images, labels = stored.images, stored.attributes
        grey = self.image_shape[0] == 1

        def read(item: int) -> np.ndarray:
            pixels = images[item][0] if grey else images[item].transpose(1, 2, 0)
            return self.preprocess(Image.fromarray(np.ascontiguousarray(pixels)))

        return Source(stored.names, read, labels, ("label",), fingerprint(images, labels))

    def _load(self, train: bool) -> tuple[np.ndarray, np.ndarray]:
        """Loads a part of torchvision: uint8 images `(N, C, H, W)`, float32 labels `(N, 1)`."""
        from torchvision import datasets

        make = getattr(datasets, self.name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torchvision warns of NumPy's deprecations
                loaded = make(str(self.root), train=train, download=self.download)
                images, labels = np.asarray(loaded.data), np.asarray(loaded.targets)
        except Exception as error:  # a damaged file or a failed download raises many types
            raise InputError(self._absent(error)) from error
        images = np.ascontiguousarray(channels_first(images, True))
        return images, labels.astype(np.float32).reshape(-1, 1)

    def _absent(self, error: Exception) -> str:
        if not self.download and (
            isinstance(error, FileNotFoundError) or "not found" in str(error).lower()
        ):
            return f"{self.root}: does not hold {self.name}; --data.download true downloads it"
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{self.root}: {self.name} cannot be loaded: {reason}"
