"""Schedules of the learning rate and of beta over a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from pyrovae.distributions.constraints import at_least
from pyrovae.utils.arguments import Recorded

__all__ = [
    "Constant",
    "Cosine",
    "Cyclical",
    "ExponentialDecay",
    "Progress",
    "Schedule",
    "Warmup",
]


@dataclass(frozen=True)
class Progress:
    """The position in a run.

    Attributes:
        step: steps done.
        total: steps of the whole run.
        per_epoch: steps per epoch.
        num_images: number of training images.
    """

    step: int
    total: int
    per_epoch: int
    num_images: int = 0

    @property
    def fraction(self) -> float:
        """The share of the run that is done, from 0 to 1."""
        return self.step / max(1, self.total)


class Schedule(Recorded, ABC):
    """A factor of the learning rate or of beta over the run, usually between 0 and 1."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """The factor at a step."""


class Constant(Schedule):
    """The constant factor 1.

    Use it for a constant learning rate or beta.
    """

    def __call__(self, progress: Progress) -> float:
        """The factor at a step."""
        return 1.0


class ExponentialDecay(Schedule):
    r"""Exponential decay per epoch.

    $$f = \gamma^e \text{ in epoch } e = 0, 1, \dots$$

    Use it to repeat published schedules of the learning rate.

    Args:
        gamma: the factor from one epoch to the next, within (0, 1].

    Example:
        >>> ExponentialDecay(0.5)(Progress(step=25, total=100, per_epoch=10))
        0.25
    """

    def __init__(self, gamma: float = 0.95) -> None:
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma must lie in (0, 1], got {gamma}")
        self.gamma = gamma

    def __call__(self, progress: Progress) -> float:
        """The factor at a step."""
        return self.gamma ** (progress.step // progress.per_epoch)


class Cosine(Schedule):
    r"""Half a cosine, from 1 to a final factor.

    $$f(t) = f_1 + (1 - f_1)(1 + \cos \pi t) / 2$$

    where t is the share of the run that is done.

    Use it for the learning rate of a run whose length is known.

    Args:
        final: the factor at the end, within [0, 1].

    References:
        SGDR (Loshchilov and Hutter, 2017, equation 5), https://arxiv.org/abs/1608.03983

    Example:
        >>> Cosine(final=0.0)(Progress(step=50, total=100, per_epoch=10))
        0.5
    """

    def __init__(self, final: float = 0.01) -> None:
        if not 0 <= final <= 1:
            raise ValueError(f"final must lie in [0, 1], got {final}")
        self.final = final

    def __call__(self, progress: Progress) -> float:
        """The factor at a step."""
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress.fraction))


class Warmup(Schedule):
    r"""A warm-up from 0 to 1 over the first part of the run, then another schedule.

    Use it for beta (the linear warm-up) or for the first steps of a learning rate.

    The warm-up is linear, or half a cosine, $(1 - \cos \pi t) / 2$. The other schedule runs from
    its beginning to its end over the rest of the run.

    Args:
        fraction: the share of the run that the warm-up takes, within (0, 1].
        then: the schedule after the warm-up; None stays at 1.
        smooth: whether the warm-up is half a cosine.

    Example:
        >>> Warmup(0.5)(Progress(step=24, total=100, per_epoch=10))
        0.5
    """

    def __init__(
        self, fraction: float = 0.1, then: Schedule | None = None, smooth: bool = False
    ) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must lie in (0, 1], got {fraction}")
        self.fraction = fraction
        self.then = then or Constant()
        self.smooth = smooth

    def __call__(self, progress: Progress) -> float:
        """The factor at a step; it is above 0 at the first step already."""
        length = max(1, round(self.fraction * progress.total))
        if progress.step < length:
            share = (progress.step + 1) / length
            return 0.5 * (1 - math.cos(math.pi * share)) if self.smooth else share
        rest = replace(progress, step=progress.step - length, total=progress.total - length)
        return self.then(rest)


class Cyclical(Schedule):
    """Several cycles, each with a linear rise from 0 to 1 and a constant part at 1.

    Use it for beta, where one warm-up leaves dimensions collapsed.

    Args:
        num_cycles: the number of cycles in the run, at least 1.
        rise: the share of a cycle that the rise takes, within (0, 1].

    References:
        Cyclical Annealing Schedule (Fu et al., 2019, equations 6 and 7),
        https://arxiv.org/abs/1903.10145

    Example:
        >>> schedule = Cyclical(num_cycles=4, rise=0.5)
        >>> [schedule(Progress(step, total=40, per_epoch=10)) for step in (0, 4, 9, 10)]
        [0.2, 1.0, 1.0, 0.2]
    """

    def __init__(self, num_cycles: int = 4, rise: float = 0.5) -> None:
        at_least("num_cycles", num_cycles, 1)
        if not 0 < rise <= 1:
            raise ValueError(f"rise must lie in (0, 1], got {rise}")
        self.num_cycles, self.rise = num_cycles, rise

    def __call__(self, progress: Progress) -> float:
        """The factor at a step; it is above 0 at the first step of a cycle already."""
        length = max(1, progress.total / self.num_cycles)
        return min(1.0, (progress.step % length + 1) / max(1.0, self.rise * length))
