"""The posteriors of a split: the view that training, evaluation and inspection share."""

# ruff: noqa: F403
from pyrovae.posterior.elbo import *
from pyrovae.posterior.passes import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__)
