"""Changes many tensors in place, with torch's foreach functions if they exist."""

from __future__ import annotations

from torch import Tensor

__all__ = ["copy_each", "multiply_each"]


def multiply_each(tensors: list[Tensor], factor: float | Tensor) -> None:
    """Multiplies each tensor by the same factor."""
    try:
        from torch import _foreach_mul_
    except ImportError:
        for tensor in tensors:
            tensor.mul_(factor)
    else:
        _foreach_mul_(tensors, factor)


def copy_each(tensors: list[Tensor], values: list[Tensor]) -> None:
    """Copies a value into each tensor."""
    try:
        from torch import _foreach_copy_
    except ImportError:
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
    else:
        _foreach_copy_(tensors, values)
