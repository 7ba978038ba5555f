"""Posterior families q(z | x): modules that turn the encoder's output into a distribution."""

from pyrovae.posteriors.base import LocationScale, Posterior
from pyrovae.posteriors.flows import HouseholderFlow, InverseAutoregressiveFlow
from pyrovae.posteriors.hyperspherical import VonMisesFisher
from pyrovae.posteriors.laplace import Laplace
from pyrovae.posteriors.normal import DiagonalNormal, FullRankNormal, LowRankNormal

__all__ = [
    "DiagonalNormal",
    "FullRankNormal",
    "HouseholderFlow",
    "InverseAutoregressiveFlow",
    "Laplace",
    "LocationScale",
    "LowRankNormal",
    "Posterior",
    "VonMisesFisher",
]
