"""Encoders and decoders: plain PyTorch networks for any image size.

Every network accepts any number of leading batch dimensions, so that vectorised particles and
`Predictive` work. Outputs are unconstrained: posteriors and likelihoods apply the constraints.
"""

# ruff: noqa: F403
from pyrovae.networks.base import *
from pyrovae.networks.base import Decoder, Encoder
from pyrovae.networks.blocks import Block
from pyrovae.networks.conv import *
from pyrovae.networks.gated import *
from pyrovae.networks.mlp import *
from pyrovae.networks.residual import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, Encoder, Decoder, Block)
