"""Every part in small, by its name, and the VAEs that are made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import zip_longest
from typing import Any

import pyro
import pyro.infer

from pyrovae import (
    GECO,
    IWAE,
    VAE,
    Bernoulli,
    ConvDecoder,
    ConvEncoder,
    DiscretizedLogisticMixture,
    DReG,
    DynamicBinarization,
    FlowPrior,
    HouseholderFlow,
    InverseAutoregressiveFlow,
    Likelihood,
    LowRankNormal,
    NeuralSpline,
    Posterior,
    Prior,
    RealNVP,
    VampPrior,
)
from pyrovae.config.catalogue import concrete
from pyrovae.networks import ImageShape
from pyrovae.objectives import STOCK
from pyrovae.programs.vae import made

FULL = os.environ.get("PYROVAE_MATRIX") == "full"
SHAPES: list[ImageShape] = [(1, 28, 28), (3, 64, 64)] if FULL else [(1, 12, 12), (3, 16, 16)]
LATENT_DIM = 3

#: Arguments that make a part small, or give it what it cannot do without.
SMALL: dict[type, dict[str, Any]] = {
    Bernoulli: {"binarization": DynamicBinarization()},
    DiscretizedLogisticMixture: {"num_components": 2},
    FlowPrior: {"flow": partial(RealNVP, num_layers=2, hidden=[4])},
    HouseholderFlow: {"num_reflections": 2},
    InverseAutoregressiveFlow: {"num_flows": 2, "hidden": [4], "context_dim": 2},
    LowRankNormal: {"rank": 2},
    GECO: {"target": 0.5},
    IWAE: {"num_particles": 2},
    DReG: {"num_particles": 2},
    pyro.infer.TraceEnum_ELBO: {"max_plate_nesting": 1, "strict_enumeration_warning": False},
    pyro.infer.RenyiELBO: {
        "num_particles": 2,
        "vectorize_particles": True,
        "max_plate_nesting": 1,
    },
}
MORE_PRIORS = {
    "FlowPrior-NeuralSpline": partial(
        FlowPrior, flow=partial(NeuralSpline, num_layers=2, hidden=[4], num_bins=3)
    )
}


def small(base: type) -> dict[str, Callable[..., Any]]:
    """Every part of a role, in small."""
    own = [kind for kind in concrete(base) if kind.__module__.startswith("pyrovae.")]
    return {kind.__name__: partial(kind, **SMALL.get(kind, {})) for kind in own}


PRIORS = small(Prior) | MORE_PRIORS
LIKELIHOODS, POSTERIORS = small(Likelihood), small(Posterior)
OBJECTIVES = small(pyro.infer.ELBO) | {
    name: partial(getattr(pyro.infer, name), **SMALL.get(getattr(pyro.infer, name), {}))
    for name in STOCK
}


def same_space(prior: str, posterior: str) -> bool:
    spheres = (prior == "HypersphericalUniform", posterior == "VonMisesFisher")
    return prior == "VampPrior" or spheres[0] == spheres[1]


SPHERE = ("HypersphericalUniform", "VonMisesFisher")
#: Posteriors whose dimensions are independent, which `BetaTC` asks for.
INDEPENDENT = {"DiagonalNormal", "Laplace"}


def in_turn(left_out: Collection[str] = ()) -> Iterator[tuple[str, str, str, str]]:
    """Each prior, likelihood, posterior and objective once, next to each other where they fit.

    Where a table has no more entries, the usual one stands.
    """
    tables = (PRIORS, LIKELIHOODS, POSTERIORS, OBJECTIVES)
    usual = ("StandardNormal", "Normal", "DiagonalNormal", "Trace_ELBO")
    names = [[name for name in table if name not in {*SPHERE, *left_out}] for table in tables]
    for row in zip_longest(*names):
        prior, likelihood, posterior, objective = map(lambda own, other: own or other, row, usual)
        if objective == "BetaTC" and posterior not in INDEPENDENT:
            yield prior, likelihood, posterior, "Trace_ELBO"
            posterior = "DiagonalNormal"
        yield prior, likelihood, posterior, objective
    if not set(SPHERE) & set(left_out):
        yield SPHERE[0], "Normal", SPHERE[1], "Trace_ELBO"


def make(prior: str, likelihood: str, posterior: str, shape: ImageShape, layers: int = 3) -> VAE:
    """A small VAE of these parts, with convolutions of so many layers."""
    shaped = {"image_shape": shape, "num_components": 3} if prior == VampPrior.__name__ else {}
    p_z, q_z = PRIORS[prior](LATENT_DIM, **shaped), POSTERIORS[posterior](LATENT_DIM)
    p_x, channels = made(LIKELIHOODS[likelihood], {"image_shape": shape}), [2] * layers
    return VAE(
        encoder=ConvEncoder(shape, q_z.num_params, channels),
        decoder=ConvDecoder(shape, LATENT_DIM, p_x.num_maps(shape[0]), channels),
        prior=p_z,
        likelihood=p_x,
        posterior=q_z,
    )
