"""Checks of observations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.utils.randomness import private_randomness

__all__ = ["check_grey_values", "check_range", "count"]


def check_range(x: Tensor, observe: Callable[[Tensor], Tensor]) -> None:
    """Checks that floats are not far outside the observations of black and white.

    Nothing is checked where values cannot be read, as under `torch.func.vmap`.

    Args:
        x: floats `(*, C, H, W)`.
        observe: maps uint8 images to observations on the device of `x`.

    Raises:
        ValueError: if a value is more than ten times the range away from it, such as grey values.
    """
    ends = torch.zeros(2, *x.shape[-3:], dtype=torch.uint8)
    ends[1] = 255
    with private_randomness(0, x.device):
        low, high = (float(end) for end in observe(ends).nan_to_num().aminmax())
    try:
        least, most = (float(end) for end in x.detach().nan_to_num().aminmax())
    except RuntimeError:  # There is no image, or `vmap` hides the values.
        return
    slack = 10 * (high - low)  # Draws of a wide Normal lie outside, too.
    if slack > 0 and (least < low - slack or most > high + slack):
        raise ValueError(
            f"floats from {least:.3g} to {most:.3g} are not observations, which are from "
            f"{low:.3g} to {high:.3g}; pass grey values as uint8, and other images as "
            "vae.preprocess(image)"
        )


def count(x: Tensor) -> int:
    """The number of observations `(B, C, H, W)`; refuses an image without a batch dimension."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(
            f"the programs take observations (B, C, H, W) as vae.scored makes them, got "
            f"{x.dtype} of shape {tuple(x.shape)}"
        )
    return len(x)


def check_grey_values(images: Tensor) -> None:
    """Raises `ValueError` unless images are a uint8 tensor."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images must be a uint8 tensor of grey values, got {got}; torch.tensor converts a "
            "uint8 array, (255 * images).round().to(torch.uint8) floats in [0, 1], and "
            "torch.stack([vae.preprocess(image) for image in images]) files and raw arrays"
        )
