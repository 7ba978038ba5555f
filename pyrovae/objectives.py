"""What is optimised around the programs: the weight of the latent sites, and schedules.

The bound itself is any `pyro.infer` ELBO. Everything here is an effect around it, or a number
over time; model and guide never change.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from pyro.poutine.messenger import Messenger

__all__ = [
    "Beta",
    "Constant",
    "Cosine",
    "ExponentialDecay",
    "LatentRate",
    "Progress",
    "ScaleLatents",
    "Schedule",
    "Warmup",
]


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps done, steps in all, steps an epoch."""

    step: int
    total: int
    per_epoch: int

    @property
    def fraction(self) -> float:
        """The share of the run that is done, from 0 to 1."""
        return self.step / max(1, self.total)


class Schedule(ABC):
    """A factor over the run, usually between 0 and 1: of the learning rate, or of beta."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """The factor at a step."""


class Constant(Schedule):
    """The factor 1 all along."""

    def __call__(self, progress: Progress) -> float:
        """The factor at a step."""
        return 1.0


class ExponentialDecay(Schedule):
    r"""A factor of $\gamma^e$ in epoch $e = 0, 1, \dots$, constant within an epoch.

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
    r"""Half a cosine from 1 to a final factor $f$: $f + (1 - f)(1 + \cos \pi t) / 2$.

    Here t is the share of the run that is done.

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
    """A straight line from 0 to 1 over the first share of the run, then another schedule.

    The other schedule runs over what is left, from its own beginning to its end.

    Args:
        fraction: the share of the run that the line takes, within (0, 1).
        then: the schedule after it; None stays at 1.

    Example:
        >>> Warmup(0.5)(Progress(step=24, total=100, per_epoch=10))
        0.5
    """

    def __init__(self, fraction: float = 0.1, then: Schedule | None = None) -> None:
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must lie between 0 and 1, got {fraction}")
        self.fraction = fraction
        self.then = then or Constant()

    def __call__(self, progress: Progress) -> float:
        """The factor at a step: never 0, the first step counts."""
        length = max(1, round(self.fraction * progress.total))
        if progress.step < length:
            return (progress.step + 1) / length if length > 1 else 1.0
        rest = Progress(progress.step - length, progress.total - length, progress.per_epoch)
        return self.then(rest)


class Beta:
    r"""The weight of the latent sites: the loss is $-\log p(x \mid z) + \beta\,(\log q - \log p)$.

    Args:
        value: beta, at least 0; 1 gives the ELBO.
        schedule: a factor over the run; `Warmup` raises beta from 0 to its value.

    References:
        beta-VAE (Higgins et al., 2017, equation 4), https://openreview.net/forum?id=Sy2fzU9gl;
        warm-up as in Generating Sentences from a Continuous Space (Bowman et al., 2016,
        section 3.1), https://arxiv.org/abs/1511.06349

    Example:
        >>> Beta(4.0, Warmup(0.5))(Progress(step=24, total=100, per_epoch=10))
        2.0
    """

    def __init__(self, value: float = 1.0, schedule: Schedule | None = None) -> None:
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"value must be at least 0 and finite, got {value}")
        self.value = value
        self.schedule = schedule or Constant()

    def __call__(self, progress: Progress) -> float:
        """Beta at a step."""
        return self.value * self.schedule(progress)


class ScaleLatents(Messenger):
    r"""An effect that weighs the latent sites of model and guide by beta.

    Around a step of SVI with `Trace_ELBO` the loss becomes
    $-\log p(x \mid z) + \beta\,(\log q(z \mid x) - \log p(z))$ in nats: both traces must be
    scaled, and are, since the handler sees every sample site that is not observed.

    Args:
        beta: the weight, at least 0.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta


class LatentRate(Messenger):
    r"""An effect that measures the rate of what runs inside: $\log q(z \mid x) - \log p(z)$.

    The guide runs first, as every ELBO of Pyro has it, then the model with the guide's values.
    Particles run at once are averaged; of particles run in turn the first counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sites: dict[str, list[Any]] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            self._sites.setdefault(msg["name"], []).append((msg["fn"], msg["value"]))

    @torch.no_grad()
    def per_image(self) -> float:
        """The rate in nats per image of the first pair of programs run since the last call."""
        pairs = [pair for pair in self._sites.values() if len(pair) > 1]
        self._sites.clear()
        return sum(
            float(q.log_prob(z).mean() - p.log_prob(z).mean()) for (q, z), (p, _), *_ in pairs
        )
