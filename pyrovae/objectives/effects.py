"""Pyro messengers around a step: the weight of the latent sites, and their rate."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Unit
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.distributions.constraints import not_negative
from pyrovae.objectives.schedules import Constant, Progress, Schedule
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.sites import is_latent, is_observed

__all__ = ["Beta", "LatentRate", "ScaleLatents"]


class Beta(Recorded):
    r"""The weight of the latent sites: the loss is $-\log p(x \mid z) + \beta\,(\log q - \log p)$.

    Objectives that replace the rate, or add a penalty on latents, such as `BetaTC`, `Capacity` and
    `DIP`, multiply the replacement and the penalty by it too.

    Args:
        value: beta, at least 0; 1 gives the ELBO.
        schedule: a factor over the run; `Warmup` raises beta from 0 to its value.

    References:
        beta-VAE (Higgins et al., 2017, equation 4), https://openreview.net/forum?id=Sy2fzU9gl;
        warm-up as in Generating Sentences from a Continuous Space (Bowman et al., 2016,
        section 3.1), https://arxiv.org/abs/1511.06349

    Example:
        >>> from pyrovae import Warmup
        >>> Beta(4.0, Warmup(0.5))(Progress(step=24, total=100, per_epoch=10))
        2.0
    """

    def __init__(self, value: float = 1.0, schedule: Schedule | None = None) -> None:
        self.value = not_negative("value", value)
        self.schedule = schedule or Constant()

    def __call__(self, progress: Progress) -> float:
        """The value of beta at a step."""
        return self.value * self.schedule(progress)


class ScaleLatents(Messenger):
    r"""A messenger that multiplies the scale of the latent sites of model and guide by beta.

    Around a step of SVI with `Trace_ELBO` the loss becomes
    $-\log p(x \mid z) + \beta\,(\log q(z \mid x) - \log p(z))$ in nats. It scales the latent sites
    of both traces. The scale of plates is kept.

    Args:
        beta: the weight, at least 0.
    """

    def __init__(self, beta: float | Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg):
            msg["scale"] = msg["scale"] * self.beta


class LatentRate(Messenger):
    r"""A messenger that measures the rate and the log likelihood of the programs inside.

    $$\text{rate} = \log q(z \mid x) - \log p(z), \quad \text{distortion} = -\log p(x \mid z)$$

    The guide must run first, then the model with the guide's values, as in every ELBO of Pyro.
    Vectorised particles are averaged. Values of an enumerated site of the guide are weighted by
    their probabilities. Of particles that run one after the other, only the first counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sites: dict[str, list[Any]] = {}
        self._observed: dict[str, Any] = {}
        self._factors: dict[str, Any] = {}
        self._enumerated: set[str] = set()
        #: Whether a program scales a site itself; read before `ScaleLatents` multiplies by beta.
        self.weighted = False

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg) or is_observed(msg):
            scale = msg["scale"]
            self.weighted |= isinstance(scale, Tensor) or scale != 1

    def _pyro_post_sample(self, msg: Any) -> None:
        seen = (msg["fn"], msg["value"])
        if is_latent(msg):
            self._sites.setdefault(msg["name"], []).append(seen)
            if msg["infer"].get("_enumerate_dim") is not None:
                self._enumerated.add(msg["name"])
        elif is_observed(msg) and isinstance(msg["value"], Tensor):
            kept = self._factors if _of_guide(msg["fn"]) else self._observed
            kept.setdefault(msg["name"], seen)

    @torch.no_grad()
    def log_likelihood(self) -> Tensor:
        """The log likelihood of the observed sites at the first draws, in nats per image."""
        weights = self._log_weights()
        found: Any = sum(_expected(p.log_prob(x), weights) for p, x in self._observed.values())
        return torch.as_tensor(found)

    @torch.no_grad()
    def factors(self, zero: Tensor) -> Tensor:
        """The sum of the guide's factors (`pyro.factor`), a part of the loss but not of the ELBO.

        Args:
            zero: as for `rate`.
        """
        return sum((p.log_prob(x).mean() for p, x in self._factors.values()), zero)

    def _log_weights(self) -> list[Tensor]:
        """The guide's log probabilities of the values of its enumerated sites."""
        known = [self._sites.get(name, []) for name in self._enumerated]
        return [pair[0][0].log_prob(pair[0][1]) for pair in known if len(pair) > 1]

    def per_image(self) -> float:
        """The rate of the first run of guide and model since the last call, in nats per image."""
        return float(self.rate(torch.zeros(())))

    @torch.no_grad()
    def rate(self, zero: Tensor) -> Tensor:
        """The rate of `per_image` as a tensor.

        Args:
            zero: a zero of shape `()` on the device of the rate.
        """
        pairs = {name: pair for name, pair in self._sites.items() if len(pair) > 1}
        log_weights = self._log_weights()
        self._sites.clear()
        rates = [
            _expected(q.log_prob(z), log_weights) - _expected(p.log_prob(z), log_weights)
            for (q, z), (p, _), *_ in pairs.values()
        ]
        return sum(rates, zero)


def _of_guide(fn: Any) -> bool:
    """Whether an observed distribution is a factor of a guide, which must state `has_rsample`."""
    return isinstance(fn, Unit) and "has_rsample" in vars(fn)


def _expected(values: Tensor, log_weights: list[Tensor]) -> Tensor:
    """The mean over images of values, weighted over the values of enumerated sites."""
    if not log_weights:
        return values.mean()
    weights, values = torch.broadcast_tensors(sum(log_weights[1:], log_weights[0]).exp(), values)
    return (weights * values).sum() / weights.sum()
