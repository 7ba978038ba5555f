"""Distributions with constant parameters, for path gradients."""

from __future__ import annotations

import io
import pickle
from types import FunctionType
from typing import Any

from torch import Tensor

__all__ = ["stop_gradients"]


def stop_gradients(distribution: Any) -> Any:
    """Returns a copy with constant parameters, whose log density has a gradient in z only.

    Works for any distribution that pickle can serialise, flows included. The parameters of a
    flow's networks become constants. Its cached inverses are dropped, so that a density is
    computed from z again.

    Args:
        distribution: any distribution; it is not changed.

    Returns:
        A copy that shares the memory of the tensors.

    Raises:
        ValueError: if the distribution holds an object that cannot be copied, such as a lock.

    Example:
        >>> import pyro.distributions as dist
        >>> loc = torch.zeros(2, requires_grad=True)
        >>> stop_gradients(dist.Normal(loc, 1.0)).loc.requires_grad
        False
    """
    kept: list[Any] = []
    file = io.BytesIO()
    try:
        _Taker(file, kept).dump(distribution)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        kind = type(distribution).__name__
        raise ValueError(f"path gradients cannot copy the {kind}: {error}") from error
    file.seek(0)
    return _Giver(file, kept).load()


class _Taker(pickle.Pickler):
    """Pickles an object, but keeps its tensors (detached), classes and functions aside."""

    def __init__(self, file: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(file)
        self.kept = kept

    def persistent_id(self, obj: Any) -> int | None:
        if isinstance(obj, Tensor):
            self.kept.append(obj.detach())
        elif isinstance(obj, (type, FunctionType)):  # Local ones cannot be pickled.
            self.kept.append(obj)
        else:
            return None
        return len(self.kept) - 1


class _Giver(pickle.Unpickler):
    """Unpickles an object with the tensors, classes and functions that were kept aside."""

    def __init__(self, file: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(file)
        self.kept = kept

    def persistent_load(self, pid: Any) -> Any:
        return self.kept[pid]
