"""Encoders and decoders: ordinary networks, tensor to tensor, for any image size.

Every network takes any number of leading batch dimensions, so that vectorised particles and
`Predictive` work, and holds no constraint: those belong to the parts that need them.
"""

from pyrovae.networks.base import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    ImageShape,
    LinearShortcut,
    MLPDecoder,
    MLPEncoder,
)

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "Encoder",
    "ImageShape",
    "LinearShortcut",
    "MLPDecoder",
    "MLPEncoder",
]
