"""Likelihoods p(x | z): modules that map the decoder's output to a distribution of images."""

# ruff: noqa: F403
from pyrovae.likelihoods.autoregressive import *
from pyrovae.likelihoods.base import *
from pyrovae.likelihoods.base import Likelihood
from pyrovae.likelihoods.binary import *
from pyrovae.likelihoods.binary import Binarization
from pyrovae.likelihoods.continuous import *
from pyrovae.likelihoods.grey import *
from pyrovae.likelihoods.masked import *
from pyrovae.likelihoods.normal import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, Likelihood, Binarization)
