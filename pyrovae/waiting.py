"""Losses that stay tensors: Pyro's ELBOs read them as numbers, for which a device must finish."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Number
from typing import Any

__all__ = ["keeping_tensors"]


def _keep(value: Any) -> Any:
    """In place of Pyro's `torch_item`: the number, still on the device."""
    return value if isinstance(value, Number) else value.detach()


def _trust(value: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of Pyro's `warn_if_nan`: the step itself looks whether all is finite."""
    return value


@contextmanager
def keeping_tensors() -> Iterator[None]:
    """Lets ELBOs compute losses and gradients without waiting for a device.

    They read every site's log density as a number (`torch_item`) and look for NaNs
    (`warn_if_nan`); inside, these two names give back tensors. Losses are then tensors of shape
    `()`, equal to what they were.
    """
    found: list[tuple[Any, str, Any]] = []
    for name, module in list(sys.modules.items()):
        if name.startswith(("pyro.infer", "pyrovae.objectives")) and module is not None:
            for function, instead in (("torch_item", _keep), ("warn_if_nan", _trust)):
                if function in vars(module):
                    found.append((module, function, vars(module)[function]))
                    setattr(module, function, instead)
    try:
        yield
    finally:
        for module, function, original in found:
            setattr(module, function, original)
