"""Priors p(z): modules whose call returns a distribution over latent vectors."""

from pyrovae.priors.base import Prior
from pyrovae.priors.flow import Flow, FlowPrior, NeuralSpline, RealNVP
from pyrovae.priors.hyperspherical import HypersphericalUniform
from pyrovae.priors.mixtures import GaussianMixture, VampPrior
from pyrovae.priors.simple import Laplace, StandardNormal, StudentT

__all__ = [
    "Flow",
    "FlowPrior",
    "GaussianMixture",
    "HypersphericalUniform",
    "Laplace",
    "NeuralSpline",
    "Prior",
    "RealNVP",
    "StandardNormal",
    "StudentT",
    "VampPrior",
]
