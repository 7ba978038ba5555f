"""Posterior families q(z | x): modules that turn the encoder's output into a distribution."""

from pyrovae.posteriors.base import Posterior
from pyrovae.posteriors.normal import DiagonalNormal

__all__ = ["DiagonalNormal", "Posterior"]
