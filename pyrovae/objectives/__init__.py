"""Objectives: bounds, the weight of the latent sites, and schedules.

The bound is any `pyro.infer` ELBO, or one of this package. Each part is an ELBO, a Pyro messenger
around it, or a schedule. Model and guide stay the same.
"""

# ruff: noqa: F403
from pyro.infer import ELBO

from pyrovae.objectives.base import *
from pyrovae.objectives.bounds import *
from pyrovae.objectives.denoising import *
from pyrovae.objectives.denoising import Corruption
from pyrovae.objectives.divergences import *
from pyrovae.objectives.effects import *
from pyrovae.objectives.gradients import *
from pyrovae.objectives.rates import *
from pyrovae.objectives.schedules import *
from pyrovae.objectives.schedules import Schedule
from pyrovae.objectives.stock import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, ELBO, Corruption, Schedule)
