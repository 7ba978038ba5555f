"""The layout of arrays of images: channels first, channels last, or no axis of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pyrovae.utils.errors import InputError

__all__ = ["as_array", "channels_first", "image_shape_of", "is_last", "shown_channels"]


def as_array(values: Any, what: str) -> np.ndarray:
    """Returns an array, a tensor or a list as a NumPy array, without a copy where possible.

    Raises:
        InputError: if the values are not an array of numbers, or a mask hides some of them.
    """
    if hidden := int(np.ma.getmaskarray(values).sum() if np.ma.isMaskedArray(values) else 0):
        raise InputError(
            f"{what}: {hidden:,} values are masked; allowed are finite values, such as those of "
            f"{what}.filled(0)"
        )
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what}: not an array ({error})") from None


def is_last(shape: tuple[int, ...], channels_last: bool | None) -> bool:
    """Whether the last axis of images `(N, H, W, C)` holds the channels.

    Without `channels_last`, it does if it is shorter than both other axes of an image.

    Raises:
        InputError: if the shape is not one of images, or both axes may hold the channels.
    """
    if len(shape) == 3 and min(shape) > 0:
        return False
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(
            f"images of shape {shape}: allowed are (N, C, H, W), (N, H, W, C) and (N, H, W), "
            "without an empty axis"
        )
    if channels_last is not None:
        return channels_last
    if shape[3] < min(shape[1:3]):
        return True
    if shape[1] < min(shape[2:]):
        return False
    raise InputError(
        f"images of shape {shape}: channels may be first or last; give channels_last, true or "
        "false (--data.channels_last)"
    )


def image_shape_of(shape: tuple[int, ...], last: bool) -> tuple[int, int, int]:
    """The shape `(C, H, W)` of images of a shape `(N, ...)`."""
    if len(shape) == 3:
        return 1, shape[1], shape[2]
    return (shape[3], shape[1], shape[2]) if last else (shape[1], shape[2], shape[3])


def channels_first(images: np.ndarray, last: bool) -> np.ndarray:
    """A view `(N, C, H, W)` of images."""
    if images.ndim == 3:
        return images[:, None]
    return images.transpose(0, 3, 1, 2) if last else images


def one_image(values: Any, channels: int) -> np.ndarray:
    """A view `(C, H, W)` of one image `(C, H, W)`, `(H, W, C)` or `(H, W)`.

    Raises:
        InputError: if no axis has this number of channels.
    """
    image = as_array(values, "image")
    if image.ndim == 2:
        return image[None]
    if image.ndim == 3 and channels in (image.shape[0], image.shape[2]):
        return image if image.shape[0] == channels else image.transpose(2, 0, 1)
    raise InputError(
        f"an image of shape {image.shape}: allowed are ({channels}, H, W), (H, W, {channels}) "
        "and (H, W)"
    )


def shown_channels(channels: int, show: Sequence[int]) -> list[str]:
    """A sentence on the channels that pictures show; none for all of grey and colour images.

    Example:
        >>> shown_channels(5, [3, 2, 1])
        ['Pictures show the channels 3, 2, 1 of 0 to 4, as red, green and blue.']
        >>> shown_channels(3, [])
        []
    """
    if show:
        colours = ", as red, green and blue" if len(show) == 3 else ""
        listed = ", ".join(map(str, show))
        return [f"Pictures show the channels {listed} of 0 to {channels - 1}{colours}."]
    if channels in (1, 3):
        return []
    return [
        f"Pictures show the {channels} channels of an image as grey tiles, from left to right and "
        "row by row."
    ]
