"""What is optimised and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pyro
import torch

from pyrovae.objectives import Beta, Constant, Schedule
from pyrovae.optimizer import OptimizerFactory
from pyrovae.starts import RandomStart, Start

__all__ = ["Recipe"]


@dataclass
class Recipe:
    """What is optimised and how, each part swapped by naming another.

    Attributes:
        optimizer: makes a torch optimiser from a list of parameters.
        schedule: factor of the learning rate over the run.
        objective: the bound, any ELBO of `pyro.infer`.
        beta: the weight of the latent sites over the run.
        start: what sets the parameters before the first step.
    """

    optimizer: OptimizerFactory = partial(torch.optim.Adam, lr=1e-3)
    schedule: Schedule = field(default_factory=Constant)
    objective: pyro.infer.ELBO = field(default_factory=pyro.infer.Trace_ELBO)
    beta: Beta = field(default_factory=Beta)
    start: Start = field(default_factory=RandomStart)
