"""Fully connected encoder and decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from pyrovae.networks.base import Decoder, Encoder, ImageShape
from pyrovae.networks.trunks import dense_layers

__all__ = ["MLPDecoder", "MLPEncoder"]


class MLPEncoder(Encoder):
    """Fully connected layers on the flattened image.

    Use it for small grey images, to compare with published results of such networks, and for
    quick experiments.

    Args:
        image_shape: `(C, H, W)` of the images.
        num_outputs: number of outputs per image.
        hidden: widths of the hidden layers, from the image inwards.
        activation: the non-linearity after each hidden layer.

    Raises:
        ValueError: if a width is not positive.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, appendix C),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> MLPEncoder((1, 28, 28), num_outputs=8)(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_outputs: int,
        hidden: Sequence[int] = (200, 200),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.layers = dense_layers(math.prod(image_shape), hidden, num_outputs, _dense(activation))

    def forward(self, x: Tensor) -> Tensor:
        """Images `(*, C, H, W)` to features `(*, num_outputs)`."""
        return self.layers(x.flatten(-3))


class MLPDecoder(Decoder):
    """Fully connected layers from the latents to all pixels.

    Use it with `MLPEncoder`, which it mirrors.

    Args:
        image_shape: `(C, H, W)` of the images; only the size is used.
        latent_dim: number of latent dimensions D.
        num_maps: number of output maps, which the likelihood determines.
        hidden: widths of the hidden layers, from the latent outwards.
        activation: the non-linearity after each hidden layer.

    Raises:
        ValueError: if a width is not positive.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, appendix C),
        https://arxiv.org/abs/1312.6114

    Example:
        >>> MLPDecoder((1, 28, 28), latent_dim=8, num_maps=1)(torch.zeros(5, 2, 8)).shape
        torch.Size([5, 2, 1, 28, 28])
    """

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        num_maps: int,
        hidden: Sequence[int] = (200, 200),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.output_shape = (num_maps, image_shape[1], image_shape[2])
        num_outputs, block = math.prod(self.output_shape), _dense(activation)
        self.layers = dense_layers(latent_dim, hidden, num_outputs, block, last_first=True)

    def forward(self, z: Tensor) -> Tensor:
        """Latents `(*, D)` to maps `(*, num_maps, H, W)`."""
        return self.layers(z).unflatten(-1, self.output_shape)


def _dense(activation: Callable[[], nn.Module]) -> Callable[[int, int], list[nn.Module]]:
    return lambda before, after: [nn.Linear(before, after), activation()]
