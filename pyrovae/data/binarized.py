"""Static MNIST: the fixed binarisation that published tables use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.data.base import ImageData, Split, check_count, check_split, checked_path
from pyrovae.data.finding import absent
from pyrovae.data.images import load_image
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["StaticMNIST"]

_FILES = {"train": "train", "val": "valid", "test": "test"}
_PIXELS = 28 * 28


class StaticMNIST(ImageData):
    """MNIST with a fixed binarisation: 50,000 training, 10,000 validation and 10,000 test images.

    Use it to compare with published results on static MNIST. Take the `Bernoulli` likelihood with
    `ThresholdBinarization`, which does not change black and white pixels.

    Args:
        path: a folder with the original `binarized_mnist_train.amat`, `..._valid.amat` and
            `..._test.amat`, or an `.npz` file of arrays `train`, `valid` and `test`. One row per
            image: 784 values, or 98 bytes of packed bits.
        limit: number of training images to use, drawn at random; by default all. Validation and
            test images stay the same.

    References:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008);
        The Neural Autoregressive Distribution Estimator (Larochelle and Murray, 2011), the
        authors of the files.
    """

    image_shape = (1, 28, 28)
    flip = False

    def __init__(self, path: str, limit: int | None = None) -> None:
        check_count("limit", limit, "images")
        self.limit = limit
        self.path = checked_path("path", path)

    def split(self, name: str) -> Split:
        """Images of `"train"`, `"val"` or `"test"`, of values 0 and 255."""
        check_split(name)
        part = _FILES[name]
        folder = self.path.is_dir()
        file = self.path / f"binarized_mnist_{part}.amat" if folder else self.path
        try:
            rows = np.loadtxt(file, np.uint8, ndmin=2) if folder else _unpacked(file, part)
        except FileNotFoundError:
            raise InputError(f"{absent(file, 'file')} (--data.path)") from None
        except Exception as error:  # A damaged file raises many types of errors.
            reason = " ".join(str(error).split())
            raise InputError(f"{file}: cannot be read as binarised MNIST: {reason}") from error
        if rows.ndim != 2 or rows.shape[1] != _PIXELS or not np.isin(rows, (0, 1)).all():
            raise InputError(f"{file}: each row must hold {_PIXELS} zeros and ones")
        images = (rows.astype(np.uint8) * np.uint8(255)).reshape(-1, *self.image_shape)
        names = [str(number) for number in range(len(images))]
        whole = Split(images, names, np.empty((len(images), 0), np.float32))
        return self.limited(name, whole)

    def preprocess(self, image: str | Path | Image) -> np.ndarray:
        """Resizes the largest centred square of an image to 28x28: uint8 `(1, 28, 28)`."""
        return load_image(image, self.image_shape)


def _unpacked(file: Path, part: str) -> np.ndarray:
    """The rows of one array of an `.npz` file, with bits unpacked."""
    with np.load(file, allow_pickle=False) as arrays:
        rows = arrays[part]
    if rows.ndim == 2 and rows.shape[1] == _PIXELS // 8:
        return np.unpackbits(rows.astype(np.uint8), axis=1)
    return np.asarray(rows)
