"""Images to train on: data sets, the cache of prepared arrays, and batches."""

from pyrovae.data.base import SPLITS, ImageData, Source, Split
from pyrovae.data.binarized import StaticMNIST
from pyrovae.data.cache import cached_split
from pyrovae.data.celeba import CelebA
from pyrovae.data.folder import ImageFolder
from pyrovae.data.images import load_image
from pyrovae.data.loader import Batches, gather, spread, to_device
from pyrovae.data.synthetic import SyntheticFaces
from pyrovae.data.torchvision import TorchvisionImages

__all__ = [
    "SPLITS",
    "Batches",
    "CelebA",
    "ImageData",
    "ImageFolder",
    "Source",
    "Split",
    "StaticMNIST",
    "SyntheticFaces",
    "TorchvisionImages",
    "cached_split",
    "gather",
    "spread",
    "load_image",
    "to_device",
]
