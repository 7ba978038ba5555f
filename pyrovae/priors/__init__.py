"""Priors p(z): modules whose call returns a distribution over latent vectors."""

from pyrovae.priors.base import Prior
from pyrovae.priors.simple import StandardNormal

__all__ = ["Prior", "StandardNormal"]
