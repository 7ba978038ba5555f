"""Feature spaces in which sets of images are compared: maps from images to vectors."""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d, conv2d, interpolate, relu

from pyrovae.data.base import fingerprint
from pyrovae.evaluation.pairs import chunks
from pyrovae.utils.errors import InputError
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.randomness import private_randomness

__all__ = [
    "FEATURES",
    "Inception",
    "Pixels",
    "RandomConvolutions",
    "features_of",
    "named_features",
]


class Pixels(nn.Module):
    """The pixels themselves, averaged down to at most 16x16.

    Use it where features must be interpretable, and neither learned nor random. Distances
    between pixels depend on position and colour more than on content.

    Example:
        >>> Pixels()(torch.rand(2, 3, 64, 48)).shape
        torch.Size([2, 768])
    """

    SIZE = 16

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], `(B, C, H, W)`, to `(B, C * 256)`, or fewer for smaller images."""
        height, width = (min(self.SIZE, extent) for extent in images.shape[-2:])
        return adaptive_avg_pool2d(images, (height, width)).flatten(1)


class RandomConvolutions(nn.Module):
    """Four convolutions with random weights, which depend on the seed alone.

    Use it to compare models without a download, on images of any kind: random features respond
    to edges and textures, and have no bias towards the classes of ImageNet.

    Images are resized to 64x64 pixels and three channels; other numbers of channels than one and
    three are averaged in three groups of neighbours. Each layer halves the size; the layers
    have 32, 64, 128 and 256 channels. The features are the means over the four quarters.

    Args:
        seed: seed of the weights, from 0 to 2**32 - 1.

    References:
        Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020, section
        3.3, with a random VGG16), https://arxiv.org/abs/2002.09797

    Example:
        >>> RandomConvolutions()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 1024])
    """

    SIZE, CHANNELS = 64, (3, 32, 64, 128, 256)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= seed < 2**32:
            raise InputError(f"seed {seed}: allowed is 0 to 2**32 - 1")
        # NumPy guarantees that this generator's stream never changes; torch does not.
        random = np.random.RandomState(seed)
        self.weights = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(self.CHANNELS):
            values = random.standard_normal((outputs, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5
            weight = torch.tensor(values, dtype=torch.float32)
            self.weights.append(nn.Parameter(weight, requires_grad=False))

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], `(B, C, H, W)`, to `(B, 1024)`."""
        if images.shape[1] not in (1, 3):
            images = adaptive_avg_pool3d(images[:, None], (3, *images.shape[2:]))[:, 0]
        # Centred on grey: otherwise the features would mostly measure brightness.
        h = 2 * _resized(_coloured(images), self.SIZE) - 1
        for weight in self.weights:
            h = relu(conv2d(h, weight, stride=2, padding=1))
        return adaptive_avg_pool2d(h, (2, 2)).flatten(1)


class Inception(nn.Module):
    """The 2048 features of torchvision's Inception v3, trained on ImageNet.

    Use it for photographs, on a machine that can download the weights (104 MB).

    A Frechet distance of these features is not FID. FID is defined with other weights (the
    TensorFlow graph of 2015) and another resizing, so its values differ.

    Raises:
        InputError: if the weights are not cached and cannot be downloaded.

    References:
        Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016),
        https://arxiv.org/abs/1512.00567
    """

    SIZE = 299

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import Inception_V3_Weights, inception_v3

        weights = Inception_V3_Weights.IMAGENET1K_V1
        try:
            # The constructor draws initial weights before it loads these.
            with torch.random.fork_rng(devices=[]):
                self.network = inception_v3(weights=weights, progress=False)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"features Inception: {weights.url} cannot be downloaded ({reason}); Pixels and "
                "RandomConvolutions need no download"
            ) from error
        self.network.fc = nn.Identity()
        self.network.requires_grad_(False).eval()
        preset = weights.transforms()
        self.register_buffer("mean", torch.tensor(preset.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(preset.std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], `(B, C, H, W)` of 1 or 3 channels, to `(B, 2048)`."""
        found = self.network((_resized(_coloured(images), self.SIZE) - self.mean) / self.std)
        return found if isinstance(found, Tensor) else found.logits


def _coloured(images: Tensor) -> Tensor:
    """Images of three channels; the channel of grey images is repeated."""
    if images.shape[1] not in (1, 3):
        raise InputError(f"images of {images.shape[1]} channels: these features allow 1 or 3")
    return images.expand(-1, 3, -1, -1)


def _resized(images: Tensor, size: int) -> Tensor:
    return interpolate(images, (size, size), mode="bilinear", antialias=True)


#: The feature spaces of this package by name.
FEATURES: dict[str, type[nn.Module]] = {
    part.__name__: part for part in (Inception, Pixels, RandomConvolutions)
}


def named_features(name: str) -> Callable[[Tensor], Tensor]:
    """The feature space of a name: one of `FEATURES`, or your own by its dotted path.

    A class is instantiated without arguments, with a fixed seed; a function or an object is the
    feature space itself. It must take floats in [0, 1], `(B, C, H, W)`, and return `(B, F)`.

    Args:
        name: a name such as "Pixels", or a dotted path such as "my_module.MyNet".

    Raises:
        InputError: if the name is unknown, or cannot be imported, instantiated or called.

    Example:
        >>> named_features("Pixels")
        Pixels()
    """
    found = FEATURES[name] if name in FEATURES else _imported(name)
    if inspect.isclass(found):
        try:
            with private_randomness(0, torch.device("cpu")):
                found = found()
        except InputError:
            raise
        except Exception as error:  # A user's constructor may raise anything.
            raise _refused(name, f"cannot be made without arguments ({_line(error)})") from error
    if not callable(found):
        raise _refused(name, "cannot be called on images")
    return found


def _imported(path: str) -> Any:
    """The object of a dotted path, looked up in the longest prefix that is a module."""
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise _refused(path, "no such features")
    for length in range(len(parts) - 1, 0, -1):
        module, inside = ".".join(parts[:length]), parts[length:]
        try:
            return functools.reduce(getattr, inside, importlib.import_module(module))
        except AttributeError as error:
            raise _refused(path, f"'{module}' has no '{'.'.join(inside)}'") from error
        except (Exception, SystemExit) as error:  # A user's module may raise anything.
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if not f"{module}.".startswith(f"{missing}."):
                raise _refused(path, f"'{module}' cannot be imported ({_line(error)})") from error
    raise _refused(path, f"no module '{parts[0]}'")


def _refused(name: str, reason: str) -> InputError:
    return InputError(
        f"features '{name}': {reason}; known are {', '.join(FEATURES)}; "
        "name your own by its dotted path, such as my_module.MyNet"
    )


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def identity(name: str, images: np.ndarray, device: torch.device | str = "cpu") -> str:
    """A hash of a feature space's features of some images; it changes if the space changes."""
    return fingerprint(features_of(named_features(name), images, device))


@torch.no_grad()
def features_of(
    module: Callable[[Tensor], Tensor],
    images: np.ndarray | Tensor,
    device: torch.device | str = "cpu",
    batch_size: int = 100,
) -> np.ndarray:
    """The features of images.

    A module is moved to the device, and put into evaluation mode for the call.

    Args:
        module: maps floats in [0, 1], `(B, C, H, W)`, to `(B, F)`; more dimensions are flattened.
        images: uint8, or floats in [0, 1], `(N, C, H, W)`.
        device: where to compute.
        batch_size: how many images at once.

    Returns:
        float64 `(N, F)`.

    Raises:
        InputError: if there are no images, or the features are not one finite vector per image.

    Example:
        >>> features_of(Pixels(), torch.rand(7, 1, 8, 8), batch_size=3).shape
        (7, 64)
    """
    if images.ndim != 4 or not len(images):
        raise InputError(f"images of shape {tuple(images.shape)}: allowed is (N, C, H, W), N > 0")
    owner = module if isinstance(module, nn.Module) else nn.Module()
    owner.to(device)
    with evaluation_mode(owner):
        parts = chunks(len(images), batch_size)
        return np.concatenate([_features(module, images[part], device) for part in parts])


def _features(
    module: Callable[[Tensor], Tensor], images: np.ndarray | Tensor, device: torch.device | str
) -> np.ndarray:
    batch = torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    batch = batch.to(device)
    try:
        found = module(batch / 255 if batch.dtype == torch.uint8 else batch)
    except Exception as error:  # A user's module may raise anything.
        what = getattr(module, "__name__", type(module).__name__)
        shape = tuple(batch.shape)
        raise InputError(f"features of {what}: fails on images {shape}: {_line(error)}") from error
    if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(batch):
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"features of {len(batch)} images must be (B, F), got {got}")
    features = found.flatten(1).cpu().double().numpy()
    if not np.isfinite(features).all():
        raise InputError(f"features of {type(module).__name__}: some are not finite numbers")
    return features
