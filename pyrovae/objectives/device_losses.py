"""Runs Pyro's ELBOs without their device syncs: losses stay tensors."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from numbers import Number
from typing import Any

from pyro.infer.util import Dice, torch_item
from pyro.ops import packed
from pyro.util import warn_if_nan
from torch import Tensor

__all__ = ["keeping_tensors"]


class _Thread(threading.local):
    """The number of nested `keeping_tensors` contexts of this thread."""

    depth = 0


_here = _Thread()


def _item(value: Any) -> Any:
    """Replaces Pyro's `torch_item`; inside `keeping_tensors` it returns a detached tensor."""
    if _here.depth and not isinstance(value, Number):
        return value.detach()
    return torch_item(value)


def _warn(value: Any, *args: Any, **kwargs: Any) -> Any:
    """Replaces Pyro's `warn_if_nan`; inside `keeping_tensors` the step checks the values."""
    return value if _here.depth else warn_if_nan(value, *args, **kwargs)


class _Dice(Dice):
    """Replaces Pyro's `Dice`; inside `keeping_tensors` it compares no probability with 0."""

    def compute_expectation(self, costs: Any) -> Any:
        """The expected cost; inside `keeping_tensors` a cost of probability 0 must be finite."""
        if not _here.depth:
            return super().compute_expectation(costs)
        expected: Any = 0.0
        for ordinal, terms in costs.items():
            factors = self._get_log_factors(ordinal)
            scale = math.exp(sum(own for own in factors if not isinstance(own, Tensor)))
            weights = [packed.exp(own) for own in factors if isinstance(own, Tensor)]
            for cost in terms:
                expected = expected + scale * math.prod(packed.broadcast_all(cost, *weights)).sum()
        return expected


#: By name: Pyro's function, and its replacement.
_INSTEAD: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "torch_item": (torch_item, _item),
    "warn_if_nan": (warn_if_nan, _warn),
    "Dice": (Dice, _Dice),
}


@lru_cache(maxsize=1)
def _readers(num_modules: int) -> list[tuple[Any, str]]:
    """The `pyro.infer` modules with these names, and the names; cached per number of modules."""
    return [
        (module, name)
        for path, module in list(sys.modules.items())
        if path.startswith("pyro.infer") and module is not None
        for name in _INSTEAD
        if name in vars(module)
    ]


class _Swap:
    """Replaces the functions in Pyro's modules while at least one thread needs it."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.replaced: list[tuple[Any, str]] = []

    def acquire(self) -> None:
        with self.lock:
            self.users += 1
            found = _readers(len(sys.modules))
            if found is not self.replaced:
                self.replaced = found
                self._set(1)

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self._set(0)
                self.replaced = []

    def _set(self, place: int) -> None:
        for module, name in self.replaced:
            setattr(module, name, _INSTEAD[name][place])


_swap = _Swap()


@contextmanager
def keeping_tensors() -> Iterator[None]:
    """Lets Pyro's ELBOs compute losses and gradients without a device sync.

    Pyro's ELBOs read the log density of every site as a number (`torch_item`) and check it for
    NaNs (`warn_if_nan`). Inside this context the two functions return tensors, for this thread
    only. A loss is then a tensor of shape `()`, with the same value. The sums over enumerated
    sites (`Dice`) do not read probabilities, so they can be compiled.
    """
    _swap.acquire()
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
        _swap.release()
