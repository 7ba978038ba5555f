"""PSNR and SSIM of reconstructions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.posterior.passes import in_order
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.randomness import private_randomness

__all__ = ["psnr", "reconstructions", "ssim"]

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(images: Tensor, again: Tensor) -> Tensor:
    r"""The peak signal-to-noise ratio of each pair of images, in decibels.

    $$-10 \log_{10} \frac{1}{CHW} \sum (x - \hat x)^2$$

    Args:
        images: floats in [0, 1], `(B, C, H, W)`.
        again: their reconstructions, of the same shape.

    Returns:
        `(B,)`; infinite where the two are equal.

    Raises:
        InputError: if the shapes differ, or are not those of images.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
        tensor([20.])
    """
    _check(images, again)
    return -10 * (images - again).square().mean((1, 2, 3)).log10()


def ssim(images: Tensor, again: Tensor) -> Tensor:
    r"""The structural similarity of each pair of images: 1 where they are equal.

    $$\frac{(2 \mu_x \mu_y + C_1)(2 \sigma_{xy} + C_2)}
    {(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)}, \quad
    C_1 = 0.01^2, \; C_2 = 0.03^2$$

    averaged over all positions of a window of 11x11 pixels inside the image, and over channels.
    The moments are weighted by a Gaussian of standard deviation 1.5 pixels.

    Args:
        images: floats in [0, 1], `(B, C, H, W)`.
        again: their reconstructions, of the same shape.

    Returns:
        `(B,)`, between -1 and 1.

    Raises:
        InputError: if the shapes differ, or the images are smaller than the window.

    References:
        Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al.,
        2004, equation 13), https://doi.org/10.1109/TIP.2003.819861

    Example:
        >>> image = torch.rand(1, 3, 16, 16)
        >>> ssim(image, image)
        tensor([1.])
    """
    _check(images, again)
    if min(images.shape[-2:]) < _WINDOW:
        height, width = images.shape[-2:]
        raise InputError(
            f"images of {height}x{width} pixels: SSIM needs at least {_WINDOW}x{_WINDOW}"
        )
    products = [images, again, images * images, again * again, images * again]
    x, y, xx, yy, xy = _blurred(torch.stack(products))
    luminance = (2 * x * y + _C1) / (x * x + y * y + _C1)
    structure = (2 * (xy - x * y) + _C2) / (xx - x * x + yy - y * y + _C2)
    return (luminance * structure).mean((1, 2, 3))


def _blurred(maps: Tensor) -> Tensor:
    """Gaussian means of maps `(*, H, W)`, where the window lies inside: `(*, H - 10, W - 10)`."""
    offsets = torch.arange(_WINDOW, dtype=maps.dtype, device=maps.device) - _WINDOW // 2
    weights = torch.softmax(-offsets.square() / (2 * _SIGMA**2), 0)
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    flat = conv2d(conv2d(flat, weights[None, None, :, None]), weights[None, None, None, :])
    return flat.reshape(*maps.shape[:-2], *flat.shape[-2:])


def _check(images: Tensor, again: Tensor) -> None:
    if images.ndim != 4 or images.shape != again.shape:
        shapes = f"{tuple(images.shape)} and {tuple(again.shape)}"
        raise InputError(f"images of shapes {shapes}: both must be the same (B, C, H, W)")


@torch.no_grad()
def reconstructions(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> pandas.DataFrame:
    """PSNR and SSIM of each image's reconstruction from one posterior draw.

    Reconstructions are compared with the grey values, also where the likelihood scores binary
    pixels: with a threshold, even a perfect reconstruction of these differs from the image.
    Missing pixels do not count for PSNR, and count as equal for SSIM. `Estimate.of` a column
    gives its mean and standard error. Draws depend on the seed alone;
    weights and global random generators stay unchanged.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or uint8 images `(N, C, H, W)` if the programs need no attributes.
        engine: where to compute.
        seed: seed of the draws.

    Returns:
        One row per image, indexed by the names of the split; columns `psnr` (decibels) and `ssim`.
        Images that are smaller than the window of SSIM have `psnr` alone.

    Raises:
        InputError: if an attribute is missing.
    """
    batches, found = in_order(programs, images, engine), []
    shape = (images.images if isinstance(images, Split) else images).shape
    large = min(shape[-2:]) >= _WINDOW
    with private_randomness(seed, engine.device):
        for batch, attributes in batches.labelled(0):
            given = attributes if programs.attributes else None
            placed = engine.place(batch)
            again, pixels = programs.reconstruct(placed, given).float(), placed / 255
            with private_randomness(seed, engine.device):  # The draws stay those of the seed.
                missing = programs.observe(placed).isnan()
            again = torch.where(missing, pixels, again)
            seen = 1 - missing.float().mean((1, 2, 3))  # The error is that of these pixels.
            own = {"psnr": psnr(pixels, again) + 10 * seen.log10()}
            own |= {"ssim": ssim(pixels, again)} if large else {}
            found.append({name: values.cpu().double() for name, values in own.items()})
    columns = {name: torch.cat([own[name] for own in found]).numpy() for name in found[0]}
    return pandas.DataFrame(columns, list(images.names) if isinstance(images, Split) else None)
