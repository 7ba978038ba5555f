"""Small labelled images from torchvision: MNIST and its likes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.base import Source, Split, check_split, fingerprint
from pyrovae.data.cached import CachedImages
from pyrovae.utils.errors import InputError

__all__ = ["TorchvisionImages"]

# Shape and validation images by convention: a network is built before any file is opened.
_KNOWN = {
    "CIFAR10": ((3, 32, 32), 5_000),
    "CIFAR100": ((3, 32, 32), 5_000),
    "FashionMNIST": ((1, 28, 28), 10_000),
    "KMNIST": ((1, 28, 28), 10_000),
    "MNIST": ((1, 28, 28), 10_000),
    "USPS": ((1, 16, 16), 1_000),
}


class TorchvisionImages(CachedImages):
    """A data set of torchvision's, with one attribute, `label`.

    Use it for MNIST and its like.

    The last training images are the validation split; the test split is the data set's own.

    Args:
        name: `CIFAR10`, `CIFAR100`, `FashionMNIST`, `KMNIST`, `MNIST` or `USPS`.
        root: the folder that torchvision keeps it in.
        download: whether to download it if it is not there.
        image_size: side of the images, where they are to be resized.
        flip: whether training mirrors images at random; wrong for digits and letters.
        val_size: how many training images are kept for validation; by default 10,000 of MNIST,
            FashionMNIST and KMNIST, 5,000 of CIFAR10 and CIFAR100, and 1,000 of USPS.
        cache_dir: where resized images are kept; by default `PYROVAE_CACHE`, or `pyrovae` in the
            user's cache folder.
    """

    def __init__(
        self,
        name: str,
        root: str,
        download: bool = False,
        image_size: int | None = None,
        flip: bool = False,
        val_size: int | None = None,
        cache_dir: str | None = None,
    ) -> None:
        if name not in _KNOWN:
            raise InputError(f"name {name!r}: allowed are {', '.join(_KNOWN)}")
        if image_size is not None and image_size < 1:
            raise InputError(f"image_size {image_size}: allowed is 1 or more")
        if val_size is not None and val_size < 1:
            raise InputError(f"val_size {val_size}: allowed is 1 or more")
        shape, usual = _KNOWN[name]
        self.name = name
        self.root = Path(root).expanduser()
        self.download = download
        self.resized = image_size not in (None, shape[1])
        self.val_size = usual if val_size is None else val_size
        size = (image_size or shape[1], image_size or shape[2])
        super().__init__((shape[0], *size), flip=flip, cache_dir=cache_dir)

    def split(self, name: str) -> Split:
        """Images and labels of `"train"`, `"val"` or `"test"`."""
        check_split(name)
        return super().split(name) if self.resized else self._stored(name)

    def _stored(self, name: str) -> Split:
        """A split as torchvision has it."""
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
        """The data set, the size, and how many images are kept for validation."""
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
        """uint8 images `(N, C, H, W)` and float32 labels `(N, 1)` of one of the two parts."""
        from torchvision import datasets

        make = getattr(datasets, self.name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torchvision's, about NumPy's future
                loaded = make(str(self.root), train=train, download=self.download)
                images, labels = np.asarray(loaded.data), np.asarray(loaded.targets)
        except Exception as error:  # files are damaged, or the network fails, in many ways
            raise InputError(self._absent(error)) from error
        if images.ndim == 3:
            images = images[:, None]
        else:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return images, labels.astype(np.float32).reshape(-1, 1)

    def _absent(self, error: Exception) -> str:
        if not self.download and (
            isinstance(error, FileNotFoundError) or "not found" in str(error).lower()
        ):
            return f"{self.root}: {self.name} is not there; --data.download true downloads it"
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{self.root}: {self.name} cannot be loaded: {reason}"
