"""Which paths a gradient takes."""

from __future__ import annotations

import io
import pickle
from typing import Any

from torch import Tensor

__all__ = ["stop_gradients"]


def stop_gradients(distribution: Any) -> Any:
    """The same distribution with constant parameters: its density has a gradient in z only.

    Works for any distribution that can be pickled: flows too, whose networks become constants
    and whose remembered inverses are forgotten, so that a density is computed from z anew.

    Args:
        distribution: any distribution; it is not changed.

    Returns:
        A copy that shares the tensors' memory.

    Example:
        >>> import pyro.distributions as dist
        >>> loc = torch.zeros(2, requires_grad=True)
        >>> stop_gradients(dist.Normal(loc, 1.0)).loc.requires_grad
        False
    """
    tensors: list[Tensor] = []
    file = io.BytesIO()
    _Taker(file, tensors).dump(distribution)
    file.seek(0)
    return _Giver(file, tensors).load()


class _Taker(pickle.Pickler):
    """Takes the structure of an object apart from its tensors."""

    def __init__(self, file: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file)
        self.tensors = tensors

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, Tensor):
            return None
        self.tensors.append(obj.detach())
        return len(self.tensors) - 1


class _Giver(pickle.Unpickler):
    """Puts the tensors back in."""

    def __init__(self, file: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file)
        self.tensors = tensors

    def persistent_load(self, pid: Any) -> Tensor:
        return self.tensors[pid]
