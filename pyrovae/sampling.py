"""What a trained VAE draws: interpolations between images and traversals of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.inspection import traversals
from pyrovae.inspection.space import LatentSpace
from pyrovae.modes import evaluation_mode
from pyrovae.moments import centre
from pyrovae.vae import VAE

__all__ = ["interpolate", "traverse", "within_support"]


def within_support(vae: VAE, z: Tensor) -> Tensor:
    """Latents `(*, D)` where the prior lives: on a sphere the nearest points of it."""
    space = LatentSpace(vae, {"z": z.shape[-1:]})
    return traversals.within_support(space, z.reshape(-1, z.shape[-1])).reshape(z.shape)


@torch.no_grad()
def interpolate(vae: VAE, first: Tensor, second: Tensor, steps: int = 10) -> Tensor:
    """Images decoded along the straight line between the posterior means of two images.

    Args:
        vae: the VAE.
        first: an image, uint8 or observed, `(C, H, W)`.
        second: another.
        steps: how many images, both ends included, at least 2.

    Returns:
        Floats in [0, 1], `(steps, C, H, W)`.

    Raises:
        InputError: if `steps` is below 2.
    """
    with evaluation_mode(vae):
        start, end = centre(vae.encode(torch.stack([first, second])))
        return vae.show(within_support(vae, traversals.linear_path(start, end, steps)))


@torch.no_grad()
def traverse(
    vae: VAE, z: Tensor, dims: Sequence[int], steps: int = 10, extent: float = 3.0
) -> Tensor:
    """Images decoded while one latent dimension at a time moves and the others stay.

    Args:
        vae: the VAE.
        z: the latent to start from, `(D,)`.
        dims: which dimensions, from 0.
        steps: how many images a dimension.
        extent: each dimension moves from `-extent` to `extent`.

    Returns:
        Floats in [0, 1], `(len(dims) * steps, C, H, W)`, one dimension after the other.

    Raises:
        InputError: if a dimension does not exist, or a number is not positive.
    """
    if steps < 1 or not extent > 0:
        raise InputError(f"steps and extent must be positive, got {steps} and {extent}")
    values = torch.linspace(-extent, extent, steps, dtype=z.dtype, device=z.device)
    latents = traversals.along(z, dims, values.expand(len(dims), -1))
    with evaluation_mode(vae):
        return vae.show(within_support(vae, latents.flatten(0, 1)))
