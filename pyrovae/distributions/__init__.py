"""Distributions and KL divergences that torch and Pyro lack or implement in part."""

from pyrovae.distributions import kl  # noqa: F401
from pyrovae.distributions.grey import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    GreyCategorical,
    grey_levels,
)
from pyrovae.distributions.mixture import Mixture
from pyrovae.distributions.pixels import BatchScaleNormal, ContinuousBernoulli
from pyrovae.distributions.spline import RationalSpline
from pyrovae.distributions.transformed import Transformed
from pyrovae.distributions.unread import LowRankMultivariateNormal, StudentT
from pyrovae.distributions.von_mises_fisher import SphereUniform, VonMisesFisher

__all__ = [
    "BatchScaleNormal",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "GreyCategorical",
    "LowRankMultivariateNormal",
    "Mixture",
    "RationalSpline",
    "Transformed",
    "SphereUniform",
    "StudentT",
    "VonMisesFisher",
    "grey_levels",
]
