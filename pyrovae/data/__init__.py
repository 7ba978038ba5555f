"""Images to train on: data sets, the cache of prepared arrays, and batches."""

# ruff: noqa: F403
from pyrovae.data.arrays import *
from pyrovae.data.augmentation import *
from pyrovae.data.augmentation import Augmentation
from pyrovae.data.base import *
from pyrovae.data.base import ImageData
from pyrovae.data.binarized import *
from pyrovae.data.cache import *
from pyrovae.data.celeba import *
from pyrovae.data.folder import *
from pyrovae.data.images import *
from pyrovae.data.loader import *
from pyrovae.data.synthetic import *
from pyrovae.data.torch_dataset import *
from pyrovae.data.torchvision import *
from pyrovae.data.wrapping import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, ImageData, Augmentation)
