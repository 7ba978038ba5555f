"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pyrovae.programs.pair import ModelGuidePair

__all__ = ["Average"]


class Average:
    r"""An exponential moving average of the parameters and buffers of programs.

    $$\bar w_t = d_t \bar w_{t-1} + (1 - d_t) w_t, \qquad
    d_t = \min\left(d, \frac{1 + t}{10 + t}\right)$$

    The decay rises to d, so that the initial weights do not count for long. Buffers, such as the
    moments of batch normalisation, are averaged too if they are floats, else copied.

    Args:
        programs: the model and the guide.
        decay: d, between 0 and 1; None keeps no average, and all methods do nothing.

    References:
        Acceleration of Stochastic Approximation by Averaging (Polyak and Juditsky, 1992)
    """

    def __init__(self, programs: ModelGuidePair, decay: float | None) -> None:
        self.decay = decay
        whole = {} if decay is None else programs.state_dict(keep_vars=True)
        first = {id(value): name for name, value in reversed(whole.items())}
        #: A tensor that two parts share has two names.
        self.names = {name: first[id(value)] for name, value in whole.items()}
        self.own = {name: whole[name] for name in self.names.values()}
        self.restart()

    def restart(self) -> None:
        """Begins at the current weights."""
        self.mean = {name: value.detach().clone() for name, value in self.own.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after a step, counted from 1."""
        if self.decay is None:
            return
        average = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        floats = [name for name, value in self.own.items() if value.is_floating_point()]
        average([self.mean[n] for n in floats], [self.own[n].detach() for n in floats], step)
        for name in self.own.keys() - floats:
            self.mean[name].copy_(self.own[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context, the programs have the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep(self) -> None:
        """Gives the averaged weights to the programs for good."""
        self._swap()
        self.restart()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.own.items():  # In place: recorded steps know the addresses.
            current = value.detach().clone()
            value.copy_(self.mean[name])
            self.mean[name].copy_(current)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights by name, for a checkpoint; none without an average."""
        return {name: self.mean[first] for name, first in self.names.items()}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restores the averaged weights from a checkpoint."""
        for name, value in self.mean.items():
            value.copy_(tensors[name])
