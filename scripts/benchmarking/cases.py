"""The cases of a benchmark: networks, likelihood and images, the same for every loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarking.handwritten import BinaryPixels, HandWritten, NormalPixels
from pyrovae.data import ArrayData
from pyrovae.likelihoods import Bernoulli, Likelihood, SharedScaleNormal
from pyrovae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from pyrovae.posteriors import DiagonalNormal
from pyrovae.priors import StandardNormal
from pyrovae.programs.vae import VAE

__all__ = ["CASES", "Case", "data_of"]

NUM_DISTINCT = 256  # distinct images; a longer array repeats them


@dataclass(frozen=True)
class Case:
    """Networks, a likelihood and a batch size.

    Attributes:
        name: the name on the command line.
        title: the description in tables.
        image_shape: `(C, H, W)`.
        batch_size: images per step.
        latent_dim: number of latent dimensions.
        encoder: returns the encoder.
        decoder: returns the decoder.
        likelihood: returns the likelihood.
        by_hand: the class of the same VAE without Pyro.
        binary: whether pixels are 0 or 255 only.
    """

    name: str
    title: str
    image_shape: tuple[int, int, int]
    batch_size: int
    latent_dim: int
    encoder: Callable[..., nn.Module]
    decoder: Callable[..., nn.Module]
    likelihood: Callable[[], Likelihood]
    by_hand: type[HandWritten]
    binary: bool

    def vae(self) -> VAE:
        """The VAE, with the same weights at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            posterior, likelihood = DiagonalNormal(self.latent_dim), self.likelihood()
            maps = likelihood.num_maps(self.image_shape[0])
            return VAE(
                encoder=self.encoder(self.image_shape, num_outputs=posterior.num_params),
                decoder=self.decoder(self.image_shape, latent_dim=self.latent_dim, num_maps=maps),
                prior=StandardNormal(self.latent_dim),
                likelihood=likelihood,
                posterior=posterior,
            )

    def images(self, count: int) -> np.ndarray:
        """Smooth images with a little noise, uint8 `(count, C, H, W)`; the same at every call."""
        channels, height, width = self.image_shape
        random = np.random.default_rng(0)
        number = min(count, NUM_DISTINCT)
        coarse = random.uniform(0, 255, (number, channels, 4, 4))
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
        drawn = coarse[:, :, rows][:, :, :, columns]
        drawn = (drawn + random.normal(0, 8, drawn.shape)).clip(0, 255)
        if self.binary:
            drawn = np.where(drawn > 127, 255.0, 0.0)
        return np.resize(drawn.astype(np.uint8), (count, *self.image_shape))

    def batch(self, device: torch.device) -> torch.Tensor:
        """The batch that every loop trains on, uint8 `(B, C, H, W)`."""
        return torch.from_numpy(self.images(self.batch_size)).to(device)


CASES = {
    case.name: case
    for case in (
        Case(
            "conv",
            "64x64 RGB, convolutions 32-64-128-256-512, Normal pixels",
            (3, 64, 64),
            64,
            128,
            ConvEncoder,
            ConvDecoder,
            SharedScaleNormal,
            NormalPixels,
            binary=False,
        ),
        Case(
            "mlp",
            "28x28 binary, fully connected 784-400-20, Bernoulli pixels",
            (1, 28, 28),
            128,
            20,
            partial(MLPEncoder, hidden=(400,)),
            partial(MLPDecoder, hidden=(400,)),
            Bernoulli,
            BinaryPixels,
            binary=True,
        ),
    )
}


def data_of(images: np.ndarray, flip: bool = False) -> ArrayData:
    """A data set of an array, whose first images are the validation and test splits.

    Args:
        images: uint8 array `(N, C, H, W)`, memory-mapped or not.
        flip: whether training mirrors images at random.
    """
    splits = {"train": images, "val": images[:8], "test": images[:8]}
    return ArrayData(splits, channels_last=False, flip=flip)
