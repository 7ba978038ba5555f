"""What is optimised and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pyro
import torch

from pyrovae.objectives import Beta, Constant, Cosine, Schedule, Warmup
from pyrovae.training.initialization import ProbabilisticPCA, RandomStart, Start
from pyrovae.training.optimizer import OptimizerFactory
from pyrovae.utils.errors import check_kind

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

    Raises:
        TypeError: if one of them is something else, such as a class for an object.
    """

    optimizer: OptimizerFactory = partial(torch.optim.Adam, lr=1e-3)
    schedule: Schedule = field(default_factory=Constant)
    objective: pyro.infer.ELBO = field(default_factory=pyro.infer.Trace_ELBO)
    beta: Beta = field(default_factory=Beta)
    start: Start = field(default_factory=RandomStart)

    @classmethod
    def default(cls) -> Recipe:
        """The recipe of the preset `default`: AdamW, warm-up, cosine, a start from linear PCA.

        Its gradients want a limit, `Trainer(clip_norm=1000.0)`.
        """
        return cls(
            optimizer=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
            schedule=Warmup(0.1, then=Cosine()),
            start=ProbabilisticPCA(otherwise=RandomStart()),
        )

    def __post_init__(self) -> None:
        check_kind("objective", self.objective, pyro.infer.ELBO)
        for name in ("schedule", "beta", "start"):
            value = getattr(self, name)
            if isinstance(value, type) or not callable(value):
                got = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
                raise TypeError(f"{name} must be an object of {name.capitalize()}, got {got}")
        if not callable(self.optimizer) or isinstance(self.optimizer, torch.optim.Optimizer):
            raise TypeError(
                "optimizer must make an optimiser of parameters, as functools.partial("
                f"torch.optim.Adam, lr=1e-3) does, got {type(self.optimizer).__name__}"
            )
