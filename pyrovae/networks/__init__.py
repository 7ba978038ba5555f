"""Encoders and decoders: ordinary networks, tensor to tensor, for any image size.

Every network takes any number of leading batch dimensions, so that vectorised particles and
`Predictive` work, and holds no constraint: those belong to the parts that need them.
"""

from pyrovae.networks.base import Decoder, Encoder, ImageShape, LinearShortcut, ShortcutNetwork
from pyrovae.networks.conv import ConvDecoder, ConvEncoder
from pyrovae.networks.gated import (
    GatedConvDecoder,
    GatedConvEncoder,
    GatedMLPDecoder,
    GatedMLPEncoder,
)
from pyrovae.networks.mlp import MLPDecoder, MLPEncoder
from pyrovae.networks.residual import ResidualDecoder, ResidualEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Encoder",
    "GatedConvDecoder",
    "GatedConvEncoder",
    "GatedMLPDecoder",
    "GatedMLPEncoder",
    "ImageShape",
    "LinearShortcut",
    "MLPDecoder",
    "MLPEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "ShortcutNetwork",
]
