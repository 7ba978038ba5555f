"""One torch optimiser for all parameters of a program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.utils.for_each import multiply_each

__all__ = ["GroupedOptimizer", "OptimizerFactory", "clip_gradients"]

OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


class GroupedOptimizer(pyro.optim.PyroOptim):
    """One torch optimiser over all parameters, where `PyroOptim` makes one for each tensor.

    One fused update replaces one a tensor, and clipping can be by the global norm. Parameters
    are sorted by their names in Pyro's store, so that their order, and with it the saved state,
    is the same in every process.

    Args:
        factory: makes a torch optimiser from a list of parameters, as `partial(Adam, lr=1e-3)`.
        clip_norm: largest global norm of the gradient, of the loss in nats per image; None
            leaves gradients as they are.

    Raises:
        ValueError: if `clip_norm` is not positive.

    Example:
        >>> from functools import partial
        >>> optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=100.0)
    """

    def __init__(self, factory: OptimizerFactory, clip_norm: float | None = None) -> None:
        super().__init__(factory, {})
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm must be positive or null, got {clip_norm}")
        self.factory = factory
        self.clip_norm = clip_norm
        self.torch_optimizer: torch.optim.Optimizer | None = None
        self._factor = 1.0
        self._started = False
        self._known: set[Tensor] = set()

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Clips the gradients of these parameters and updates them, as stock SVI asks."""
        params = list(params)
        self.apply(params, clip_gradients(params, self.clip_norm))

    def apply(self, params: Iterable[Tensor], finite: Tensor) -> None:
        """Updates parameters by their gradients, or leaves them as they are.

        A fused optimiser learns on the device whether to; others wait to be told.

        Args:
            params: the parameters.
            finite: of shape `()`; 0 where nothing may move.
        """
        self.register(params)
        optimizer: Any = self.torch_optimizer
        # The first time is waited for: of a step not taken, SGD would keep memory unset.
        if self._started and getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = 1 - finite.float()  # What mixed-precision scaling uses.
            optimizer.step()
        elif finite:
            optimizer.step()
            self._started = True

    def register(self, params: Iterable[Tensor]) -> None:
        """Takes in parameters that were not seen before, sorted by name."""
        new = [p for p in params if p not in self._known]
        self._known.update(new)
        new.sort(key=pyro.get_param_store().param_name)
        if self.torch_optimizer is None:
            self.torch_optimizer = _fused(self.factory(new))
            closure = inspect.signature(self.torch_optimizer.step).parameters.get("closure")
            if closure is not None and closure.default is inspect.Parameter.empty:
                name = type(self.torch_optimizer).__name__
                raise ValueError(
                    f"{name} needs the loss again within a step, which SVI cannot give"
                )
            self._base_rates = [float(group["lr"]) for group in self.torch_optimizer.param_groups]
        elif new:
            self.torch_optimizer.param_groups[0]["params"] += new

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of their state."""
        assert self.torch_optimizer is not None
        return [p for group in self.torch_optimizer.param_groups for p in group["params"]]

    def scale_learning_rate(self, factor: float) -> float:
        """Sets the learning rate to that multiple of the chosen one, and returns it."""
        assert self.torch_optimizer is not None
        if factor == self._factor:
            return self._base_rates[0] * factor
        self._factor = factor
        for group, rate in zip(self.torch_optimizer.param_groups, self._base_rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor
        return self._base_rates[0] * factor

    @property
    def started(self) -> bool:
        """Whether a first step was taken, so that the state is there."""
        return self._started

    def make_capturable(self) -> bool:
        """Keeps all that a step reads in tensors on the device, so that it can be recorded.

        Returns:
            Whether the optimiser can: it must be fused, and take its learning rate as a tensor.
        """
        optimizer: Any = self.torch_optimizer
        fused = bool(getattr(optimizer, "_step_supports_amp_scaling", False))
        for group in optimizer.param_groups if fused else ():
            device = group["params"][0].device
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
            if "capturable" in group:
                group["capturable"] = True
        return fused

    def live_tensors(self) -> list[Tensor]:
        """What `update` reads and changes: each group's learning rate, then the state.

        Raises:
            NotImplementedError: if something of that is not a tensor, or not there yet.
        """
        optimizer: Any = self.torch_optimizer
        if any("capturable" not in group for group in optimizer.param_groups):
            raise NotImplementedError(f"{type(optimizer).__name__} has no capturable form")
        states = [optimizer.state.get(p, {}) for p in self.parameters()]
        found = [group["lr"] for group in optimizer.param_groups]
        found += [value for state in states for value in state.values() if value is not None]
        if not all(states) or not all(isinstance(value, Tensor) for value in found):
            raise NotImplementedError(f"{type(optimizer).__name__} keeps numbers off the device")
        return found

    def update(self, leaves: list[Tensor], live: list[Tensor], finite: Tensor) -> None:
        """Moves other tensors as the optimiser would move its parameters.

        It runs the optimiser's for-each form, which a tracer sees as plain arithmetic.

        Args:
            leaves: stand for the parameters, and hold gradients.
            live: stand for `live_tensors`, and are changed in place.
            finite: of shape `()`; 0 where nothing may move.
        """
        optimizer: Any = self.torch_optimizer
        rest, left = iter(live), iter(leaves)
        groups = [
            {**group, "lr": next(rest), "params": [next(left) for _ in group["params"]]}
            | {"foreach": True, "capturable": True}
            | ({"fused": False} if "fused" in group else {})
            for group in optimizer.param_groups
        ]
        twin = type(optimizer)(groups)
        for leaf, p in zip(leaves, self.parameters(), strict=True):
            twin.state[leaf] = {
                key: None if value is None else next(rest)
                for key, value in optimizer.state[p].items()
            }
        changed = [*leaves, *live[len(groups) :]]
        before = [value.detach().clone() for value in changed]
        twin.step()
        with torch.no_grad():
            for value, old in zip(changed, before, strict=True):
                value.copy_(torch.where(finite > 0, value, old))

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimiser's state, one tensor a parameter and quantity, named by position."""
        assert self.torch_optimizer is not None
        return {
            f"{i}.{key}": torch.as_tensor(value)
            for i, p in enumerate(self.parameters())
            for key, value in self.torch_optimizer.state.get(p, {}).items()
            if value is not None
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state_tensors` gave; parameters must be registered."""
        assert self.torch_optimizer is not None
        packed = self.torch_optimizer.state_dict() | {"state": {}}
        for name, value in tensors.items():
            position, key = name.split(".", 1)
            packed["state"].setdefault(int(position), {})[key] = value
        # Torch knows which type and device each quantity needs.
        self.torch_optimizer.load_state_dict(packed)
        self._started = bool(tensors)
        self.lay_out()

    def lay_out(self) -> None:
        """Lays the state out as the parameters are, whose layout may have changed."""
        assert self.torch_optimizer is not None
        for p, state in self.torch_optimizer.state.items():
            for key, value in state.items():
                # Fused updates walk through memory: a state must be laid out as its parameter is.
                if key != "step" and value.shape == p.shape:
                    state[key] = torch.empty_like(p).copy_(value)


def clip_gradients(params: Iterable[Tensor], clip_norm: float | None) -> Tensor:
    """Scales gradients down to a global norm; returns 1 if all are finite, else 0, as `()`."""
    grads = [p.grad for p in params if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    if clip_norm is not None:
        multiply_each(grads, (clip_norm / (norm + 1e-6)).clamp(max=1))
    return norm.isfinite().to(norm)


def _fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimiser in its fused form, if it has one here and no form was chosen."""
    kind, options = type(optimizer), optimizer.defaults
    if options.get("fused", False) is not None or options.get("foreach"):
        return optimizer
    known = inspect.signature(kind).parameters
    if "fused" not in known:  # A class of one's own, derived from one that can be fused.
        return optimizer
    chosen = {name: value for name, value in options.items() if name in known}
    groups = [{**group, "fused": True} for group in optimizer.param_groups]
    try:
        return kind(groups, **(chosen | {"fused": True}))
    except RuntimeError:  # Not for parameters of this kind, or on this device.
        return optimizer
