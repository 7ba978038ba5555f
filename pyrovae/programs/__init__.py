"""Pairs of a Pyro model and a Pyro guide, and checks that their parts fit together."""

# ruff: noqa: F403
from pyrovae.programs.pair import *
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.programs.replacing import *
from pyrovae.programs.vae import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, ModelGuidePair)
