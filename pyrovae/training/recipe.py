"""The training recipe: optimiser, schedule, objective, beta and initialisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyro
import torch

from pyrovae.objectives import Beta, Constant, Cosine, Progress, Schedule, Warmup
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
            optimizer=partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.0, fused=True),
            schedule=Warmup(0.1, then=Cosine()),
            start=ProbabilisticPCA(fallback=RandomStart()),
        )

    def __post_init__(self) -> None:
        if isinstance(self.freeze, str):
            raise TypeError(f"freeze must be a list of names, got {self.freeze!r}")
        check_kind("objective", self.objective, pyro.infer.ELBO)
        of_torch = torch.optim.lr_scheduler.LRScheduler
        kind = self.schedule.func if isinstance(self.schedule, partial) else self.schedule
        if isinstance(kind, of_torch) or (isinstance(kind, type) and issubclass(kind, of_torch)):
            raise TypeError(
                "schedule must be an object of Schedule, such as Cosine(), or a function from "
                "Progress to a factor of the learning rate; got a scheduler of torch"
            )
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

    def lengthened(self, before: int, now: Progress, rate: float) -> Iterator[str]:
        """Lines for the log on schedules in a resumed run that takes more epochs.

        Args:
            before: the number of epochs that the run would have taken; 0 if unknown.
            now: the position in the longer run.
            rate: the learning rate where the factor of its schedule is 1.
        """
        after = now.total // now.per_epoch
        if not 0 < before < after:
            return
        then = replace(now, total=before * now.per_epoch, step=max(now.step - 1, 0))
        end = replace(now, step=now.total - 1)
        factors = (("learning rate", rate, self.schedule), ("beta", 1.0, self.beta))
        for name, size, factor in factors:
            was, goes_on, ends = (f"{size * factor(at):.3g}" for at in (then, now, end))
            if float(was) != float(goes_on):
                yield (
                    f"the schedule of the {name} now takes {after} epochs instead of {before}: "
                    f"it continues at {goes_on}, after {was} in the last step, and ends at {ends}"
                )
