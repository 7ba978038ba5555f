"""Likelihoods p(x | z): modules that turn the decoder's output into a distribution of images."""

from pyrovae.likelihoods.base import (
    DensityLikelihood,
    GreyLikelihood,
    Likelihood,
    PixelLikelihood,
)
from pyrovae.likelihoods.binary import (
    Bernoulli,
    Binarization,
    DynamicBinarization,
    FixedBinarization,
    ThresholdBinarization,
)
from pyrovae.likelihoods.continuous import ContinuousBernoulli, Laplace, StudentT
from pyrovae.likelihoods.grey import (
    Categorical,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)
from pyrovae.likelihoods.normal import (
    Normal,
    OptimalScaleNormal,
    PixelwiseNormal,
    SharedScaleNormal,
)

__all__ = [
    "Bernoulli",
    "Binarization",
    "Categorical",
    "ContinuousBernoulli",
    "DensityLikelihood",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "DynamicBinarization",
    "FixedBinarization",
    "GreyLikelihood",
    "Laplace",
    "Likelihood",
    "Normal",
    "OptimalScaleNormal",
    "PixelLikelihood",
    "PixelwiseNormal",
    "SharedScaleNormal",
    "StudentT",
    "ThresholdBinarization",
]
