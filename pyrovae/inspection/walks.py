"""Latent walks: images decoded between two images, and along one dimension."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyrovae.distributions.moments import centre
from pyrovae.inspection.traversals import along, linear_path, within_support
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.modes import evaluation_mode

__all__ = ["EXTENT", "interpolate", "traverse"]

#: A traversed dimension varies from -EXTENT to EXTENT.
EXTENT = 3.0


@torch.no_grad()
def interpolate(vae: ModelGuidePair, first: Tensor, second: Tensor, steps: int = 10) -> Tensor:
    """Images decoded along the straight line between the posterior means of two images.

    Args:
        vae: programs with one latent vector.
        first: the first image, uint8 or observed, `(C, H, W)`.
        second: the second image.
        steps: number of images, both ends included, at least 2.

    Returns:
        Floats in [0, 1], `(steps, C, H, W)`.

    Raises:
        InputError: if `steps` is below 2.
    """
    with evaluation_mode(vae):
        start, end = centre(vae.encode(torch.stack([first, second])))
        return vae.show(_within(vae, linear_path(start, end, steps)))


@torch.no_grad()
def traverse(
    vae: ModelGuidePair, z: Tensor, dims: Sequence[int], steps: int = 10, extent: float = EXTENT
) -> Tensor:
    """Images decoded while one latent dimension varies and the others are fixed.

    Args:
        vae: programs with one latent vector.
        z: the latent vector to start from, `(D,)`, such as `vae.encode(image).mean`.
        dims: the dimensions to vary, counted from 0.
        steps: images per dimension.
        extent: each dimension varies from `-extent` to `extent`.

    Returns:
        Floats in [0, 1], `(len(dims) * steps, C, H, W)`, dimension by dimension.

    Raises:
        InputError: if a dimension does not exist, or if `steps` or `extent` is not positive.
    """
    if steps < 1 or not extent > 0:
        raise InputError(f"steps and extent must be positive, got {steps} and {extent}")
    values = torch.linspace(-extent, extent, steps, dtype=z.dtype, device=z.device)
    latents = along(z, dims, values.expand(len(dims), -1))
    with evaluation_mode(vae):
        return vae.show(_within(vae, latents.flatten(0, 1)))


def _within(vae: ModelGuidePair, z: Tensor) -> Tensor:
    """Latents `(B, D)` moved into the support of the prior, such as a sphere."""
    return within_support(LatentSpace(vae, {"z": z.shape[-1:]}), z)
