"""Constants of distributions on a sphere, by series in double precision."""

from __future__ import annotations

import math

import scipy.integrate
import scipy.special
import scipy.stats
import torch

DTYPES = [torch.float32, torch.float64]


def log_uniform_mean(dim: int, concentration: float) -> float:
    """Log mean of exp(kappa (cos t - 1)) over the sphere, of Bessel functions."""
    if concentration < dim:
        return math.log(scipy.special.hyp0f1(dim / 2, concentration**2 / 4)) - concentration
    order = dim / 2 - 1
    constant = scipy.special.gammaln(dim / 2) - order * math.log(concentration / 2)
    return math.log(scipy.special.ive(order, concentration)) + constant
