"""Pairs of a Pyro model and a Pyro guide, and whether their parts fit together."""

from pyrovae.programs.pair import Programs, run_both
from pyrovae.programs.vae import VAE, Guide, Model

__all__ = ["VAE", "Guide", "Model", "Programs", "run_both"]
