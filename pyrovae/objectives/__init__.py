"""What is optimised around the programs: bounds, weights of the latent sites, and schedules.

The bound is any `pyro.infer` ELBO, or one from here. Everything here is an ELBO, an effect around
it, or a number over time; model and guide never change.
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
