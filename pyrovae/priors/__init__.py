"""Priors p(z): modules whose call returns a distribution over latent vectors."""

# ruff: noqa: F403
from pyrovae.priors.base import *
from pyrovae.priors.base import Prior
from pyrovae.priors.flow import *
from pyrovae.priors.flow import Flow
from pyrovae.priors.hyperspherical import *
from pyrovae.priors.mixtures import *
from pyrovae.priors.simple import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, Prior, Flow)
