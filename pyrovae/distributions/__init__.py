"""Distributions and KL divergences that torch and Pyro lack or implement in part."""

# ruff: noqa: F403
from pyrovae.distributions import kl  # noqa: F401
from pyrovae.distributions.autoregressive import *
from pyrovae.distributions.full_rank import *
from pyrovae.distributions.grey import *
from pyrovae.distributions.masked import *
from pyrovae.distributions.mixture import *
from pyrovae.distributions.outliers import *
from pyrovae.distributions.pixels import *
from pyrovae.distributions.spline import *
from pyrovae.distributions.transformed import *
from pyrovae.distributions.von_mises_fisher import *
from pyrovae.distributions.without_sync import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__)
