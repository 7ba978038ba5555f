"""The likelihood of images with missing pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions.masked import MaskedPixels, unmasked
from pyrovae.likelihoods.base import Likelihood
from pyrovae.likelihoods.normal import SharedScaleNormal
from pyrovae.utils.errors import InputError, check_kind

__all__ = ["Masked"]


class Masked(Likelihood):
    r"""Any likelihood, restricted to the seen pixels: missing pixels are not scored.

    $$\log p(x_{\text{seen}} \mid h) = \sum_{i \in \text{seen}} \log p(x_i \mid h)$$

    A pixel is missing if it is white in `mask`, if its grey value is `missing` in every channel,
    if it is dropped, or if it is NaN in the observations that a program gets. `ArrayData(nan=0)`
    gives NaN the grey value 0, so that `missing=0` leaves these pixels out. The networks of the
    guide get 0 for a missing pixel. Pixels under `mask` are never learned, and are shown grey.
    With `IWAE` as the objective the bound is that of MIWAE. Evaluation scores the seen pixels,
    without dropping any. Bits per dimension count the pixels that `mask` leaves; with `missing`
    they are undefined.

    Use it for images with holes, defects or text on them, and with `drop` for a guide that can
    encode partly seen images.

    Args:
        likelihood: the likelihood of whole images; null takes `SharedScaleNormal`.
        mask: an image file of the size of the images after loading; its white pixels are missing
            in all images. A run keeps it.
        missing: the grey value, 0 to 255, of a missing pixel in every channel.
        drop: the largest share of pixels that training drops. Each image and step draws its
            share uniformly from 0 to `drop`, and drops pixels at random.

    Raises:
        InputError: if an argument is not allowed, or the mask cannot be read.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei and
        Frellsen, 2019, equation 4), https://arxiv.org/abs/1812.02633

    Example:
        >>> from pyrovae.likelihoods import Normal
        >>> x = torch.tensor([[[torch.nan, torch.nan], [0.0, 0.0]]])
        >>> Masked(Normal(scale=1.0))(torch.zeros(1, 2, 2)).log_prob(x)
        tensor(-1.8379)
    """

    seen: Tensor

    def __init__(
        self,
        likelihood: Likelihood | None = None,
        mask: str | None = None,
        missing: int | None = None,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= drop < 1:
            raise InputError(f"drop must lie in [0, 1), got {drop}")
        if missing is not None and not 0 <= missing <= 255:
            raise InputError(f"missing must lie in 0 to 255, got {missing}")
        self.likelihood = likelihood or SharedScaleNormal()
        check_kind("likelihood", self.likelihood, Likelihood)
        if isinstance(self.likelihood, Masked):
            raise InputError("likelihood is a Masked: give all arguments to one")
        if self.likelihood.couples_batch or self.likelihood.couples_pixels:
            kind = type(self.likelihood).__name__
            raise InputError(
                f"likelihood {kind}: its pixels depend on each other, so none can be left out: "
                "Masked does not support it"
            )
        self.mask, self.missing, self.drop = mask, missing, drop
        self.register_buffer("seen", _read(mask) if mask else torch.ones(1, 1, dtype=torch.bool))
        self.leaves_out = mask is not None or missing is not None
        self.grey_levels, self.has_scale = self.likelihood.grey_levels, self.likelihood.has_scale

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # A run has the mask among its weights: the file may be gone.
        if (seen := state_dict.get(f"{prefix}seen")) is not None:
            self.seen = seen.to(self.seen.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def num_maps(self, channels: int) -> int:
        """As many as the likelihood of whole images needs."""
        return self.likelihood.num_maps(channels)

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution of the seen pixels; draws are whole images."""
        return MaskedPixels(self.likelihood(h), self.seen)

    def observe(self, images: Tensor) -> Tensor:
        """The observations of images or grey values, with NaN for missing pixels of images."""
        return self._without_missing(images, self.likelihood.observe(images))

    def dequantize(self, images: Tensor) -> Tensor:
        """As for whole images."""
        return self.likelihood.dequantize(images)

    def scored(self, images: Tensor) -> Tensor:
        """As `observe`, of dequantised images, with NaN for pixels that training drops."""
        x = self._without_missing(images, self.likelihood.scored(images))
        if not (self.training and self.drop):
            return x
        # Shares of all sizes: with one share, the networks would never see a whole image.
        share = self.drop * torch.rand(*x.shape[:-3], 1, 1, 1, device=x.device)
        kept = torch.rand(*x.shape[:-3], 1, *x.shape[-2:], device=x.device) >= share
        return torch.where(kept, x, torch.nan)

    def _without_missing(self, images: Tensor, x: Tensor) -> Tensor:
        if images.ndim < 3:
            return x
        if self.mask is not None:
            x = torch.where(self.seen, x, torch.nan)
        if self.missing is None:
            return x
        return torch.where((images != self.missing).any(-3, keepdim=True), x, torch.nan)

    def attach(self, guide: nn.Module, networks: Iterable[nn.Module]) -> None:
        """Lets the networks, or a guide without networks, get 0 for missing pixels."""
        for module in tuple(networks) or (guide,):
            if self._filled not in module._forward_pre_hooks.values():
                module.register_forward_pre_hook(self._filled)

    def _filled(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = args
        whole = self.mask is not None and x.shape[-2:] == self.seen.shape
        seen = ~x.isnan() & self.seen if whole else ~x.isnan()
        return torch.where(seen, x, 0.0), *others

    def to_images(self, distribution: dist.TorchDistribution) -> Tensor:
        """The images that represent a distribution; pixels that `mask` leaves out are grey."""
        return torch.where(self.seen, self.likelihood.to_images(unmasked(distribution)), 0.5)

    def drawn(self, distribution: dist.TorchDistribution) -> Tensor:
        """Images drawn from a distribution; pixels that `mask` leaves out are grey."""
        return torch.where(self.seen, self.likelihood.drawn(unmasked(distribution)), 0.5)

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """The baseline of the seen pixels."""
        return MaskedPixels(self.likelihood.without_latent(mean, variance), self.seen)

    def check(self, images: Tensor) -> None:
        """Refuses a mask of another size, and what the likelihood of whole images refuses."""
        if not self.seen.numel():
            raise InputError(f"--likelihood.mask {self.mask}: no such file")
        if self.mask is not None and self.seen.shape != images.shape[-2:]:
            size, allowed = (f"{h}x{w}" for h, w in (self.seen.shape, images.shape[-2:]))
            raise InputError(
                f"--likelihood.mask {self.mask}: is {size} (height x width), the images are "
                f"{allowed}"
            )
        self.likelihood.check(images)

    def start_at(self, scale: float) -> float:
        """Sets the scale of the likelihood of whole images."""
        return self.likelihood.start_at(scale)

    def noise_scale(self) -> Tensor | None:
        """That of the likelihood of whole images."""
        return self.likelihood.noise_scale()

    def fixed_scale(self) -> float | None:
        """That of the likelihood of whole images."""
        return self.likelihood.fixed_scale()

    def maps(self, loc: Tensor) -> Tensor:
        """Those of the likelihood of whole images."""
        return self.likelihood.maps(loc)

    def num_scored(self, num_dims: int) -> int:
        """The dimensions of the pixels that `mask` leaves."""
        return round(num_dims * float(self.seen.double().mean()))

    def bits_per_dim(self, elbo: float, num_dims: int) -> float | None:
        """Bits per seen dimension; None where the number of seen dimensions varies."""
        if self.missing is not None:
            return None
        return self.likelihood.bits_per_dim(elbo, self.num_scored(num_dims))


def _read(mask: str) -> Tensor:
    """Which pixels are seen, booleans `(H, W)`: those that are not white in the file."""
    from PIL import Image

    try:
        with Image.open(Path(mask).expanduser()) as image:
            seen = torch.from_numpy(np.array(image.convert("L"))) < 128
    except FileNotFoundError:
        return torch.zeros(0, 0, dtype=torch.bool)  # `check` refuses it; a run has its mask.
    except (OSError, ValueError) as error:
        raise InputError(f"--likelihood.mask {mask}: cannot be read as an image") from error
    if not seen.any():
        raise InputError(f"--likelihood.mask {mask}: every pixel is missing (white)")
    return seen
