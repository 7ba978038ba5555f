"""Pairs of a Pyro model and a Pyro guide, and whether their parts fit together."""

from pyrovae.programs.pair import Parts, Programs, run_both
from pyrovae.programs.vae import VAE, Guide, Model

__all__ = ["VAE", "Guide", "Model", "Parts", "Programs", "run_both"]
