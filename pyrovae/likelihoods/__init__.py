"""Likelihoods p(x | z): modules that turn the decoder's output into a distribution of images."""

from pyrovae.likelihoods.base import DensityLikelihood, Likelihood
from pyrovae.likelihoods.binary import (
    Bernoulli,
    Binarization,
    DynamicBinarization,
    ThresholdBinarization,
)
from pyrovae.likelihoods.densities import Normal, SharedScaleNormal

__all__ = [
    "Bernoulli",
    "Binarization",
    "DensityLikelihood",
    "DynamicBinarization",
    "Likelihood",
    "Normal",
    "SharedScaleNormal",
    "ThresholdBinarization",
]
