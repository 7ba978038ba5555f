"""Functions of tensors as graphs of their operations, without the programs around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Traced"]

#: Calls with tensors of the same shapes before the function is traced: tracing takes as long as
#: some tens of calls.
OFTEN = 60


class Traced:
    """A function of tensors that is traced once it has been called often.

    Running a Pyro program takes as long as some hundred small operations. A function that runs
    it again and again on tensors of the same shapes is traced to its operations, gradients among
    them, and these are run alone. Results and draws stay the same. What cannot be traced, such as
    a program that reads numbers to decide what it does, is run as it is.

    Args:
        function: takes tensors and gives a tuple of tensors. It must do the same each time,
            apart from what it draws.

    Example:
        >>> double = Traced(lambda x: (2 * x,))
        >>> double(torch.ones(2))
        (tensor([2., 2.]),)
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function = function
        self._calls: Counter[Any] = Counter()
        self._graphs: dict[Any, Callable[..., tuple[Tensor, ...]]] = {}

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """What the function gives."""
        key = tuple((own.shape, own.dtype) for own in given)
        self._calls[key] += 1
        if self._calls[key] == OFTEN:
            self._graphs[key] = self._traced(given)
        return self._graphs.get(key, self.function)(*given)

    def _traced(self, given: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        from torch.fx.experimental.proxy_tensor import make_fx

        devices = {own.device for own in given if own.device.type == "cuda"}
        try:
            with torch.random.fork_rng(devices=devices):  # Tracing runs it, and draws.
                return make_fx(self.function)(*given)
        except Exception:  # A program of the user's may do what no graph holds.
            return self.function
