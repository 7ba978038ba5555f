"""What a trained VAE draws: interpolations between images and traversals of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pyrovae.errors import InputError
from pyrovae.modes import evaluation_mode
from pyrovae.vae import VAE

__all__ = ["centre", "interpolate", "traverse", "within_support"]


def centre(q: dist.TorchDistribution) -> Tensor:
    """The mean of a distribution; of 100 draws where it has no closed form."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample((100,)).mean(0)


def within_support(vae: VAE, z: Tensor) -> Tensor:
    """Latents `(*, D)` where the prior lives: on a sphere the nearest points of it."""
    if vae.model.z_dist().support.check(z).all():
        return z
    return normalize(z, dim=-1)


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
    if steps < 2:
        raise InputError(f"steps must be at least 2, got {steps}")
    with evaluation_mode(vae):
        ends = centre(vae.encode(torch.stack([first, second])))
        weights = torch.linspace(0, 1, steps, device=ends.device)[:, None]
        return vae.show(within_support(vae, (1 - weights) * ends[0] + weights * ends[1]))


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
    for dim in dims:
        if not 0 <= dim < len(z):
            raise InputError(f"there is no latent dimension {dim}: allowed is 0 to {len(z) - 1}")
    if steps < 1 or not extent > 0:
        raise InputError(f"steps and extent must be positive, got {steps} and {extent}")
    latents = z.repeat(len(dims), steps, 1)
    for row, dim in enumerate(dims):
        latents[row, :, dim] = torch.linspace(-extent, extent, steps, device=z.device)
    with evaluation_mode(vae):
        return vae.show(within_support(vae, latents.flatten(0, 1)))
