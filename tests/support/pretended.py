"""A pretended device: tensors lie on "meta" and hold values, and mixing devices is refused.

It finds without a GPU what ends a run on one. Tensors of the device hold tensors of the CPU, on
which every operation runs: numbers can be read and branches be taken, as on a GPU. Refused is
what a GPU refuses, and with `strict` what a recorded step of a GPU cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["DEVICE", "Pretended", "Refused", "pretending", "strictly"]

#: The device that is pretended. Autograd asks for no device guard of it.
DEVICE = torch.device("meta")
CPU = torch.device("cpu")

aten = torch.ops.aten

#: What carries values from one device to the other.
COPIES = {aten.copy_.default, aten._to_copy.default, aten._foreach_copy_.default}
#: What takes zero-dimensional tensors of the CPU, and carries no tag of that.
ELEMENTWISE = {aten.fill_.Tensor, aten.fill.Tensor}
#: What a GPU finishes all its work for: the host reads a number, or how large a result is.
WAITS = {
    aten._linalg_check_errors.default,
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
#: What makes a tensor of Python's numbers; of "meta" torch makes it without values.
INDEXED = {Tensor.__getitem__, Tensor.__setitem__}
FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


class Refused(Exception):
    """An operation that ends a program on a GPU, or a recorded step of one."""


class NotNumPy(Refused, TypeError):
    """An array was asked for of a tensor that is not on the CPU."""


class Pretended(Tensor):
    """A tensor that says it lies on the pretended device; its values are those of `inner`."""

    inner: Tensor
    is_meta = False  # type: ignore[assignment]  # To modules: they load no values into "meta".

    @staticmethod
    def __new__(cls: type, inner: Tensor) -> Pretended:
        outer = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
        )
        outer.inner = inner
        return outer

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} of a pretended tensor outside of pretending()")

    @property
    def data(self) -> Any:
        return Tensor.data.__get__(self)  # type: ignore[attr-defined]

    @data.setter
    def data(self, value: Pretended) -> None:  # As modules lay parameters out anew.
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.inner = value.inner

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise NotNumPy("an array of a tensor on the device: call .cpu() first")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotNumPy("an array of a tensor on the device: call .cpu() first")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def as_subclass(self, kind: Any) -> Any:
        """As Pyro's tensors do that remember where they come from, and compute with this one."""
        return self.inner.as_subclass(kind)

    def __repr__(self, **kwargs: Any) -> str:
        return f"Pretended({self.inner!r})"


class _Dispatch(TorchDispatchMode):
    """Runs operations on the tensors inside, and refuses what no GPU does."""

    strict = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # Nothing is compiled in here; the wrapper costs as much as an operation.

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there: list[Pretended] = []
        here: list[Tensor] = []
        plain = [_inside(value, there, here) for value in args]
        named = {name: _inside(value, there, here) for name, value in (kwargs or {}).items()}
        target = torch.device(named["device"]) if named.get("device") is not None else None
        if not there and target != DEVICE:
            return func(*plain, **named)
        assert all(tensor.device == CPU for tensor in here), f"{func}: a tensor without values"
        self._check(func, args, named, there, here, target)
        if target == DEVICE:
            named["device"] = CPU
        found = func(*plain, **named)
        if target == CPU or (func is aten.copy_.default and not isinstance(args[0], Pretended)):
            return found
        return _outside(func, found, {id(tensor.inner): tensor for tensor in there})

    def _check(
        self,
        func: Any,
        args: Any,
        named: dict[str, Any],
        there: list[Pretended],
        here: list[Tensor],
        target: torch.device | None,
    ) -> None:
        generator = named.get("generator")
        if generator is not None:
            raise Refused(f"{func}: a generator of {generator.device} for tensors of the device")
        copies = func in COPIES
        if here and not copies and not _takes_scalars(func, args, here):
            shapes = [tuple(tensor.shape) for tensor in here]
            raise Refused(f"{func}: tensors of the device with those of the CPU, {shapes}")
        if not self.strict:
            return
        if here or (copies and target == CPU):
            raise Refused(f"{func}: what passes between CPU and device cannot be recorded")
        if there and (func in WAITS or _chooses(func, args)):
            raise Refused(f"{func}: waits for the device, which cannot be recorded")


def _takes_scalars(func: Any, args: Any, here: list[Tensor]) -> bool:
    """Whether a GPU takes these tensors of the CPU: as numbers in elementwise operations."""
    elementwise = torch.Tag.pointwise in func.tags or func in ELEMENTWISE
    written = func._schema.is_mutable and not isinstance(args[0], Pretended)
    return elementwise and not written and all(tensor.dim() == 0 for tensor in here)


def _chooses(func: Any, args: Any) -> bool:
    """Whether an operation indexes by a mask: how many values that gives must be known."""
    masks = (torch.bool, torch.uint8)
    return func in INDEXING and any(i is not None and i.dtype in masks for i in args[1])


def _inside(value: Any, there: list[Pretended], here: list[Tensor]) -> Any:
    """An argument with the tensors inside; all tensors are sorted by where they lie."""
    if isinstance(value, Pretended):
        there.append(value)
        return value.inner
    if isinstance(value, Tensor):
        here.append(value)
    elif isinstance(value, (list, tuple)):
        return type(value)([_inside(each, there, here) for each in value])
    return value


def _outside(func: Any, found: Any, outer: dict[int, Pretended]) -> Any:
    """A result as tensors of the device: an argument itself, if it was changed in place."""
    if isinstance(found, (list, tuple)):
        return type(found)([_outside(func, each, outer) for each in found])
    if not isinstance(found, Tensor):
        return found
    own = outer.get(id(found))
    if own is None:
        return Pretended(found)
    assert own.shape == found.shape, f"{func} changes the shape of its argument"
    return own


def _placed(index: Any) -> Any:
    """An index as a tensor of the device, if it is one of several numbers."""
    return torch.tensor(index).to(DEVICE) if isinstance(index, (list, np.ndarray)) else index


class _Numbers(TorchFunctionMode):
    """Makes tensors of numbers on the CPU and copies them, as torch does for a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in INDEXED and isinstance(args[0], Pretended):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            return func(args[0], tuple(map(_placed, index)), *args[2:])
        if func not in FROM_NUMBERS:
            return func(*args, **(kwargs or {}))
        return self._made(func, args, dict(kwargs or {}))

    def _made(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        device = kwargs.get("device")
        if func is Tensor.new_tensor:
            device = args[0].device if device is None else device
        if device is None or torch.device(device) != DEVICE:
            return func(*args, **kwargs)
        first = 1 if func is Tensor.new_tensor else 0
        if len(args) > first and isinstance(args[first], Pretended):
            return args[first].to(kwargs.get("dtype") or args[first].dtype)
        kwargs["device"] = CPU
        return func(*args, **kwargs).to(DEVICE)


_mode = _Dispatch()


@contextmanager
def pretending() -> Iterator[None]:
    """Inside, the device can be computed on."""
    from torch.optim import optimizer
    from torch.utils import _foreach_utils

    fused = [*_foreach_utils._get_fused_kernels_supported_devices(), DEVICE.type]
    name = "_get_fused_kernels_supported_devices"
    with mock.patch.object(optimizer, name, lambda: list(fused)), _Numbers(), _mode:
        yield


@contextmanager
def strictly() -> Iterator[None]:
    """Inside, what a recorded step of a GPU cannot hold is refused too."""
    _mode.strict = True
    try:
        yield
    finally:
        _mode.strict = False
