"""The posterior of single images: correlations of dimensions, and the posterior predictive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrovae.evaluation.evidence import latents_at_once
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["correlations", "predictive"]


def correlations(draws: Tensor) -> np.ndarray:
    """Correlations of the latent dimensions of each image, `(B, D, D)`.

    Args:
        draws: of the guide, `(S, B, D)`; the standard error of a correlation of 0 is about
            `1 / sqrt(S)`.

    Raises:
        InputError: for fewer than 3 draws.
    """
    if len(draws) < 3:
        raise InputError(f"correlations need at least 3 draws, got {len(draws)}")
    centred = (draws - draws.mean(0)).double()
    covariance = torch.einsum("sbd,sbe->bde", centred, centred)
    scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt().clamp(min=1e-300)
    return (covariance / scale[:, :, None] / scale[:, None, :]).cpu().numpy()


def correlation_table(
    found: np.ndarray, images: list[str], names: list[str], most: int = 20
) -> pandas.DataFrame:
    """The most correlated pairs of dimensions, one row per image and pair.

    Args:
        found: from `correlations`, `(B, D, D)`.
        images: B names.
        names: of the D dimensions.
        most: the largest number of pairs per image.
    """
    rows = []
    first, second = np.triu_indices(len(names), 1)
    for image, matrix in zip(images, found, strict=True):
        values = matrix[first, second]
        for place in np.argsort(-np.abs(values))[:most]:
            pair = names[first[place]], names[second[place]]
            rows.append((image, *pair, values[place]))
    return pandas.DataFrame(rows, columns=["image", "first", "second", "correlation"])


@dataclass(frozen=True)
class Predictive:
    """The posterior predictive of B images, pixels in [0, 1] from black to white.

    Attributes:
        mean: mean of the decoded draws, `(B, C, H, W)`.
        latent_spread: standard deviation of the decoded draws: the uncertainty due to z.
        spread: standard deviation of images drawn from the likelihood: the total uncertainty.
        decoded: the first decoded draws, `(K, B, C, H, W)`.
        noisy: images drawn from the likelihood at the same latents.
    """

    mean: Tensor
    latent_spread: Tensor
    spread: Tensor
    decoded: Tensor
    noisy: Tensor

    def table(self, images: list[str]) -> pandas.DataFrame:
        """The two spreads of each image: root mean squares over pixels, in grey levels of 256.

        The squared ratio of `latent_spread` to `spread` is the share of z in the variance.

        Args:
            images: B names.
        """
        columns = {
            name: 255 * getattr(self, name).flatten(1).square().mean(1).sqrt().cpu().numpy()
            for name in ("latent_spread", "spread")
        }
        return pandas.DataFrame(columns, index=pandas.Index(images, name="image"))


def predictive(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    num_draws: int = 100,
    kept: int = 4,
    scale: tuple[float, float] = (0.0, 1.0),
) -> Predictive:
    r"""The posterior predictive of images, from draws of the guide.

    $$p(\tilde x \mid x) = \mathbb{E}_{q(z \mid x)}[p(\tilde x \mid z)]$$

    Args:
        space: the latents of the programs.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        num_draws: draws of the guide, at least 2.
        kept: how many decoded draws to keep.
        scale: the observations that are shown black and white, see `scale_of`.

    Raises:
        InputError: for fewer than 2 draws.
    """
    if num_draws < 2:
        raise InputError(f"a spread needs at least 2 draws, got {num_draws}")
    decoded, noisy, inputs = [], [], inputs or {}
    most = max(1, latents_at_once(x[0].numel(), x.device) // len(x))
    for z in space.guide_draws(num_draws, x, **inputs).split(most):
        pixels = space.decode(z, **inputs)
        decoded.append(space.programs.likelihood.to_images(pixels))
        noisy.append(pixels.sample())
    low, high = scale
    shown, drawn = torch.cat(decoded), (torch.cat(noisy).to(decoded[0]) - low) / (high - low)
    first = shown[:kept], drawn[:kept].clamp(0, 1)
    return Predictive(shown.mean(0), shown.std(0), drawn.std(0), *first)
