"""One run of a module for a guide and for the model that is replayed with its values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Shared"]


class _Kept:
    """The last run of a module; a copy of it is empty, and so is one that is loaded."""

    def __init__(self) -> None:
        self.run: tuple[tuple[Tensor, ...], tuple[Any, ...], Any] | None = None

    def __reduce__(self) -> tuple[type[_Kept], tuple[()]]:
        return _Kept, ()


class Shared(nn.Module):
    """A module that returns the result of its last run once more for the same tensors.

    A guide runs the networks that it shares with the model, and SVI then replays the model with
    the tensors that the guide has drawn. The second run would cost as much as the first one, so
    the model gets the result of the guide's. The result is the same as without sharing: the run
    is repeated if the parameters have changed, or if gradients or autocast were switched.

    Args:
        module: a module without random numbers.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self._kept = module, _Kept()

    def forward(self, *args: Tensor) -> Any:
        """What the module returns."""
        now = (
            torch.is_grad_enabled(),
            *(torch.is_autocast_enabled(device) for device in ("cuda", "cpu")),
            self.module.training,
            [(id(p), p._version) for p in self.module.parameters()],
        )
        last, self._kept.run = self._kept.run, None
        if last is not None and last[1] == now and _same(last[0], args):
            return last[2]
        result = self.module(*args)
        self._kept.run = (args, now, result)
        return result


def _same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))
