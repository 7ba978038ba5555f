"""Posterior families q(z | x): modules that turn the encoder's output into a distribution."""

# ruff: noqa: F403
from pyrovae.posteriors.base import *
from pyrovae.posteriors.base import Posterior
from pyrovae.posteriors.flows import *
from pyrovae.posteriors.hyperspherical import *
from pyrovae.posteriors.laplace import *
from pyrovae.posteriors.normal import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, Posterior)
