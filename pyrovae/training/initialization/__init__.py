"""Initialisation of the parameters before the first step."""

# ruff: noqa: F403
from pyrovae.training.initialization.base import *
from pyrovae.training.initialization.base import Start
from pyrovae.training.initialization.warm import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, Start)
