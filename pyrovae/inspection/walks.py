"""Latent walks: images decoded between two images, and along one dimension."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyrovae.distributions.moments import centre
from pyrovae.inspection.traversals import along, linear_path, within_support
from pyrovae.posterior.space import LatentSpace, quietly
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.pair import Given
from pyrovae.utils.errors import InputError

__all__ = ["EXTENT", "interpolate", "traverse"]

#: A traversed dimension varies from -EXTENT to EXTENT.
EXTENT = 3.0


def interpolate(
    vae: ModelGuidePair,
    first: Tensor,
    second: Tensor,
    steps: int = 10,
    attributes: Given = None,
    edited: Given = None,
) -> Tensor:
    """Images decoded along the straight line between the posterior means of two images.

    Args:
        vae: programs with one latent vector.
        first: the first image, uint8 or observed, `(C, H, W)`.
        second: the second image.
        steps: number of images, both ends included, at least 2.
        attributes: those of both images, `(2, A)`, for programs that take attributes.
        edited: those of the decoded images at both ends, which change half-way; by default those
            of the images.

    Returns:
        Floats in [0, 1], `(steps, C, H, W)`.

    Raises:
        InputError: if `steps` is below 2.
    """
    with quietly(vae):
        known = _given(vae, attributes)
        ends = known if edited is None else _given(vae, edited)
        start, end = centre(vae.encode(torch.stack([first, second]), *known))
        path = linear_path(start, end, steps)
        halves = (torch.arange(steps, device=path.device) >= steps / 2).long()
        return _show(vae, path, [own[halves] for own in ends])


def traverse(
    vae: ModelGuidePair,
    z: Tensor,
    dims: Sequence[int],
    steps: int = 10,
    extent: float = EXTENT,
    attributes: Given = None,
) -> Tensor:
    """Images decoded while one latent dimension varies and the others are fixed.

    Args:
        vae: programs with one latent vector.
        z: the latent vector to start from, `(D,)`, such as `vae.encode(image).mean`.
        dims: the dimensions to vary, counted from 0.
        steps: images per dimension.
        extent: each dimension varies from `-extent` to `extent`.
        attributes: those of the decoded images, `(A,)`, for programs that take attributes.

    Returns:
        Floats in [0, 1], `(len(dims) * steps, C, H, W)`, dimension by dimension.

    Raises:
        InputError: if z is not one vector, a dimension does not exist, or if `steps` or `extent`
            is not positive.
    """
    if z.ndim != 1:
        raise InputError(f"z: allowed is one vector (D,), got the shape {tuple(z.shape)}")
    if steps < 1 or not extent > 0:
        raise InputError(f"steps and extent must be positive, got {steps} and {extent}")
    values = torch.linspace(-extent, extent, steps, dtype=z.dtype, device=z.device)
    latents = along(z, dims, values.expand(len(dims), -1)).flatten(0, 1)
    with quietly(vae):
        given = [own.reshape(1, -1) for own in _given(vae, attributes)]
        return _show(vae, latents, [own.expand(len(latents), -1) for own in given])


def _given(vae: ModelGuidePair, attributes: Given) -> list[Tensor]:
    """The attributes as tensors; none for programs that take none."""
    found = vae.given(attributes)
    return [] if found is None else [found]


def _show(vae: ModelGuidePair, z: Tensor, attributes: list[Tensor]) -> Tensor:
    """The decoded images of latents `(B, D)`, moved into the support of the prior."""
    space = LatentSpace(vae, {"z": z.shape[-1:]})
    inputs = vae.inputs(attributes[0] if attributes else None)
    return space.show(within_support(space, z, **inputs), **inputs)
