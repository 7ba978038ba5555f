"""Traces functions of tensors to graphs, to save the overhead of Pyro programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor

__all__ = ["Traced"]

#: The call with tensors of the same shapes that traces the function. Tracing takes as long as
#: some tens of calls.
OFTEN = 60
#: Seeds of the draws for which a graph is compared with its function.
SEEDS = (1, 2, 3)


class Traced:
    """A function of tensors that is traced after many calls.

    The overhead of a Pyro program is that of some hundred small operations. At the 60th call with
    tensors of the same shapes the function is traced to a graph of its operations, gradients
    included, and the graph runs instead. Results and draws stay the same. A function that cannot
    be traced, such as one with data-dependent control flow, is called directly.

    Args:
        function: takes tensors and returns a tuple of tensors. It must run the same operations
            each time, except for its random draws.

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
        """The result of the function."""
        key = tuple((own.shape, own.dtype) for own in given)
        self._calls[key] += 1
        if self._calls[key] == OFTEN:
            self._graphs[key] = self._traced(given)
        return self._graphs.get(key, self.function)(*given)

    def _traced(self, given: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
        from torch.fx.experimental.proxy_tensor import make_fx

        devices = {own.device for own in given if own.device.type == "cuda"}
        try:
            # Tracing runs it, and draws. Checks of arguments depend on data: they have no graph.
            with torch.random.fork_rng(devices=devices), pyro.validation_enabled(False):
                graph = make_fx(self.function)(*given)
                same = all(self._same(graph, given, seed) for seed in SEEDS)
                return graph if same else self.function
        except Exception:  # A user's program may be impossible to trace.
            return self.function

    def _same(self, graph: Callable[..., Any], given: tuple[Tensor, ...], seed: int) -> bool:
        """Whether a graph gives the results of the function, for other draws than its own.

        It does not for draws by rejection, whose operations depend on the draws.
        """
        results = []
        for compute in (graph, self.function):
            torch.manual_seed(seed)
            results.append(compute(*given))
        pairs = zip(*results, strict=True)
        return all(torch.allclose(one, other, equal_nan=True) for one, other in pairs)
