"""The training recipe: optimiser, schedule, objective, beta and initialisation."""

from __future__ import annotations

from collections.abc import Sequence
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
    """The objective of a run and how it is optimised.

    Attributes:
        optimizer: a function from a list of parameters to a torch optimiser.
        schedule: the factor of the learning rate over the run.
        objective: the bound, any `pyro.infer` ELBO.
        beta: the weight of the latent sites over the run.
        start: the initialisation of the parameters.
        freeze: the names of the parts that do not train, such as `encoder`. They are in
            evaluation mode, so that their batch norm statistics stay too.

    Raises:
        TypeError: if a part has the wrong type, such as a class instead of an object.
    """

    optimizer: OptimizerFactory = partial(torch.optim.Adam, lr=1e-3)
    schedule: Schedule = field(default_factory=Constant)
    objective: pyro.infer.ELBO = field(default_factory=pyro.infer.Trace_ELBO)
    beta: Beta = field(default_factory=Beta)
    start: Start = field(default_factory=RandomStart)
    freeze: Sequence[str] = ()

    @classmethod
    def default(cls) -> Recipe:
        """The recipe of the preset `default`: AdamW, warm-up, cosine, `ProbabilisticPCA`.

        Use it with gradient clipping, `Trainer(clip_norm=1000.0)`.
        """
        return cls(
            optimizer=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.0, fused=True),
            schedule=Warmup(0.1, then=Cosine()),
            start=ProbabilisticPCA(otherwise=RandomStart()),
        )

    def __post_init__(self) -> None:
        if isinstance(self.freeze, str):
            raise TypeError(f"freeze must be a list of names, got {self.freeze!r}")
        check_kind("objective", self.objective, pyro.infer.ELBO)
        for name in ("schedule", "beta", "start"):
            value = getattr(self, name)
            if isinstance(value, type) or not callable(value):
                got = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
                raise TypeError(f"{name} must be an object of {name.capitalize()}, got {got}")
        if not callable(self.optimizer) or isinstance(self.optimizer, torch.optim.Optimizer):
            raise TypeError(
                "optimizer must be a function from parameters to an optimiser, such as functools."
                f"partial(torch.optim.Adam, lr=1e-3), got {type(self.optimizer).__name__}"
            )
