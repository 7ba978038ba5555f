"""Losses that stay tensors: Pyro's ELBOs read them as numbers, for which a device must finish."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from numbers import Number
from typing import Any

from pyro.infer.util import torch_item
from pyro.util import warn_if_nan

__all__ = ["keeping_tensors"]


def _keep(value: Any) -> Any:
    """In place of Pyro's `torch_item`: the number, still on the device."""
    return value if isinstance(value, Number) else value.detach()


def _trust(value: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of Pyro's `warn_if_nan`: the step itself looks whether all is finite."""
    return value


#: Pyro's functions, and what takes their place.
_INSTEAD = {"torch_item": (torch_item, _keep), "warn_if_nan": (warn_if_nan, _trust)}


@lru_cache(maxsize=1)
def _readers(num_modules: int) -> list[tuple[Any, str]]:
    """The modules of ELBOs that have these names: anew whenever something was imported."""
    return [
        (module, name)
        for path, module in list(sys.modules.items())
        if path.startswith(("pyro.infer", "pyrovae.objectives")) and module is not None
        for name in _INSTEAD
        if name in vars(module)
    ]


@contextmanager
def keeping_tensors() -> Iterator[None]:
    """Lets ELBOs compute losses and gradients without waiting for a device.

    They read every site's log density as a number (`torch_item`) and look for NaNs
    (`warn_if_nan`); inside, these two names give back tensors. Losses are then tensors of shape
    `()`, equal to what they were.
    """
    found = _readers(len(sys.modules))
    for module, name in found:
        setattr(module, name, _INSTEAD[name][1])
    try:
        yield
    finally:
        for module, name in found:
            setattr(module, name, _INSTEAD[name][0])
