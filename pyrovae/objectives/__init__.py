"""What is optimised around the programs: bounds, weights of the latent sites, and schedules.

The bound is any `pyro.infer` ELBO, or one from here. Everything here is an ELBO, an effect around
it, or a number over time; model and guide never change.
"""

from pyrovae.objectives.base import (
    LossTerms,
    Objective,
    StockObjective,
    as_objective,
    check_objective,
)
from pyrovae.objectives.bounds import (
    IWAE,
    DReG,
    Latent,
    PerImageELBO,
    Run,
    StickingTheLanding,
)
from pyrovae.objectives.denoising import (
    Corruption,
    Denoising,
    GaussianNoise,
    SaltAndPepper,
)
from pyrovae.objectives.divergences import MMD
from pyrovae.objectives.effects import (
    Beta,
    LatentRate,
    ScaleLatents,
)
from pyrovae.objectives.gradients import stop_gradients
from pyrovae.objectives.rates import GECO, BetaTC, Capacity, FreeBits
from pyrovae.objectives.schedules import (
    Constant,
    Cosine,
    CosineWarmup,
    Cyclical,
    ExponentialDecay,
    Progress,
    Schedule,
    Warmup,
)
from pyrovae.objectives.stock import STOCK, UNFIT, check_objective_name

__all__ = [
    "GECO",
    "IWAE",
    "MMD",
    "STOCK",
    "UNFIT",
    "Beta",
    "BetaTC",
    "Capacity",
    "Constant",
    "Corruption",
    "Cosine",
    "CosineWarmup",
    "Cyclical",
    "DReG",
    "Denoising",
    "ExponentialDecay",
    "FreeBits",
    "GaussianNoise",
    "Latent",
    "LatentRate",
    "LossTerms",
    "Objective",
    "PerImageELBO",
    "Progress",
    "Run",
    "SaltAndPepper",
    "ScaleLatents",
    "Schedule",
    "StickingTheLanding",
    "StockObjective",
    "Warmup",
    "as_objective",
    "check_objective",
    "check_objective_name",
    "stop_gradients",
]
