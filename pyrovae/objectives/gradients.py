"""Which paths a gradient takes."""

from __future__ import annotations

import io
import pickle
from types import FunctionType
from typing import Any

from torch import Tensor

__all__ = ["stop_gradients"]


def stop_gradients(distribution: Any) -> Any:
    """The same distribution with constant parameters: its density has a gradient in z only.

    Works for any distribution that can be taken apart as pickling does: flows too, whose
    networks become constants and whose remembered inverses are forgotten, so that a density is
    computed from z anew.

    Args:
        distribution: any distribution; it is not changed.

    Returns:
        A copy that shares the tensors' memory.

    Raises:
        ValueError: if the distribution holds what cannot be copied, such as a lock.

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
        raise ValueError(f"path gradients need a copy of the {kind}, but {error}") from error
    file.seek(0)
    return _Giver(file, kept).load()


class _Taker(pickle.Pickler):
    """Takes the structure of an object apart from its tensors, classes and functions."""

    def __init__(self, file: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(file)
        self.kept = kept

    def persistent_id(self, obj: Any) -> int | None:
        if isinstance(obj, Tensor):
            self.kept.append(obj.detach())
        elif isinstance(obj, (type, FunctionType)):  # Those in a function cannot be pickled.
            self.kept.append(obj)
        else:
            return None
        return len(self.kept) - 1


class _Giver(pickle.Unpickler):
    """Puts them back in."""

    def __init__(self, file: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(file)
        self.kept = kept

    def persistent_load(self, pid: Any) -> Any:
        return self.kept[pid]
