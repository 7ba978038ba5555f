"""Random changes of training images, computed on the device from given random numbers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError

__all__ = ["Augmentation", "Colour", "Crop", "Rotate", "Shift"]


class Augmentation(Recorded, ABC):
    """A random change of training images.

    It draws no random numbers itself: they depend on seed and epoch, so a resumed run repeats
    them, and a recorded step reads them from the device.

    Attributes:
        numbers: the number of random numbers per image.
    """

    numbers: int

    @abstractmethod
    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Changes images.

        Args:
            images: uint8 `(B, C, H, W)`.
            random: uniform on [0, 1), `(B, numbers)`.

        Returns:
            uint8 `(B, C, H, W)`.
        """


def changed(images: Tensor, random: Tensor, change: Augmentation) -> Tensor:
    """Applies a change, and raises `InputError` unless it returns images of the same kind."""
    found = change(images, random)
    if not isinstance(found, Tensor):
        got = type(found).__name__
    elif found.dtype == images.dtype and found.shape == images.shape:
        return found
    else:
        got = f"{found.dtype} of shape {tuple(found.shape)}"
    raise InputError(
        f"augment: {type(change).__name__} returns {got}; allowed are the images that it gets, "
        f"changed: {images.dtype} of shape {tuple(images.shape)}"
    )


class Shift(Augmentation):
    """Moves each image by a few whole pixels in both directions; edges are repeated.

    Use it where the position of the object in the image is arbitrary.

    Args:
        pixels: the largest shift.
    """

    numbers = 2

    def __init__(self, pixels: int = 2) -> None:
        if pixels < 0:
            raise InputError(f"pixels {pixels}: allowed is 0 or more")
        self.pixels = pixels

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Shifts images by -pixels to pixels."""
        moved = (random * (2 * self.pixels + 1)).long() - self.pixels
        for axis in (0, 1):
            size = images.shape[2 + axis]
            places = torch.arange(size, device=images.device) - moved[:, axis, None]
            index = places.clamp(0, size - 1)[:, None, :, None]
            index = index if axis == 0 else index.transpose(2, 3)
            images = images.gather(2 + axis, index.expand(images.shape))
        return images


class Colour(Augmentation):
    """Changes brightness, contrast, and the saturation of images with several channels.

    Use it where lighting and camera vary but should not matter.

    Args:
        strength: each of the three factors is uniform on [1 - strength, 1 + strength].
    """

    numbers = 3

    def __init__(self, strength: float = 0.2) -> None:
        if not 0 <= strength <= 1:
            raise InputError(f"strength {strength}: allowed is 0 to 1")
        self.strength = strength

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Scales the grey values, their deviations from the image's mean, and from grey."""
        factors = 1 + self.strength * (2 * random[:, :, None, None] - 1)
        brightness, contrast, saturation = factors.split(1, 1)
        x = images.float() * brightness
        grey, mean = x.mean(1, keepdim=True), x.mean((1, 2, 3), keepdim=True)
        x = mean + contrast * (grey - mean + saturation * (x - grey))
        return x.round().clamp(0, 255).to(torch.uint8)


class Crop(Augmentation):
    """Keeps a random part of each image, and enlarges it to the size of the image.

    Use it where the size of the object in the image is arbitrary.

    Args:
        least: the smallest side of the part, as a share of the image's side.
    """

    numbers = 3

    def __init__(self, least: float = 0.8) -> None:
        if not 0 < least <= 1:
            raise InputError(f"least {least}: allowed is a share above 0, up to 1")
        self.least = least

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Interpolates the part bilinearly."""
        share = self.least + (1 - self.least) * random[:, :1]
        zero = torch.zeros_like(share)
        across, down = ((1 - share) * (2 * random[:, i : i + 1] - 1) for i in (1, 2))
        return resampled(images, (share, zero, across), (zero, share, down))


class Rotate(Augmentation):
    """Rotates each image about its centre; edges are repeated.

    Use it where objects are tilted by a few degrees, such as handwritten digits.

    Args:
        degrees: the angle is uniform on [-degrees, degrees].
    """

    numbers = 1

    def __init__(self, degrees: float = 10.0) -> None:
        if not 0 <= degrees <= 180:
            raise InputError(f"degrees {degrees}: allowed is 0 to 180")
        self.degrees = degrees

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Interpolates bilinearly; a positive angle is anticlockwise."""
        angle = math.radians(self.degrees) * (2 * random - 1)
        sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
        # Places are in units of half the height and half the width, so pixels need their ratio.
        ratio = images.shape[2] / images.shape[3]
        return resampled(images, (cosine, -sine * ratio, zero), (sine / ratio, cosine, zero))


def resampled(images: Tensor, *rows: tuple[Tensor, ...]) -> Tensor:
    """Images `(B, C, H, W)` at places by an affine map; each of its 2 rows is 3 `(B, 1)`."""
    matrix = torch.stack([torch.cat(row, 1) for row in rows], 1)
    places = affine_grid(matrix, list(images.shape), align_corners=False)
    x = grid_sample(images.float(), places, padding_mode="border", align_corners=False)
    return x.round().clamp(0, 255).to(torch.uint8)
