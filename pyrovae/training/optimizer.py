"""One torch optimiser for all parameters of a program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.for_each import multiply_each

__all__ = ["GroupedOptimizer", "OptimizerFactory", "clip_gradients"]

OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


class GroupedOptimizer(pyro.optim.PyroOptim):
    """One torch optimiser for all parameters; `PyroOptim` uses one optimiser per parameter.

    One fused update replaces one update per parameter, and clipping can use the global norm.
    Parameters are sorted by their names in Pyro's store, so that the order of the saved state is
    the same in every process.

    Args:
        factory: a function from parameters to a torch optimiser, such as `partial(Adam, lr=1e-3)`.
        clip_norm: largest global norm of the gradient of the loss in nats per image; None does
            not clip.

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
        #: None until the first parameters are known.
        self.torch_optimizer: Any = None
        self._factor = 1.0
        #: Whether a first step was taken, so that the state of the optimiser exists.
        self.started = False
        self._known: set[Tensor] = set()

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Clips the gradients and updates the parameters; Pyro's SVI calls this."""
        params = list(params)
        norm = clip_gradients(params, self.clip_norm)
        self.apply(params, norm.isfinite().to(norm))

    def apply(self, params: Iterable[Tensor], finite: Tensor) -> None:
        """Updates the parameters, or skips the update if `finite` is 0.

        A fused optimiser skips on the device. Other optimisers need a device sync.

        Args:
            params: the parameters.
            finite: of shape `()`; 0 skips the update.
        """
        self.register(params)
        optimizer = self.torch_optimizer
        # The first update is not skipped on the device: SGD would keep uninitialised momentum.
        if self.started and getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = 1 - finite.float()  # The flag of mixed-precision scaling.
            optimizer.step()
        elif finite and self.started:
            optimizer.step()
        elif finite:
            _first_step(optimizer)
            self.started = True

    def register(self, params: Iterable[Tensor]) -> None:
        """Adds new parameters to the optimiser, sorted by name."""
        new = [p for p in params if p not in self._known and p.requires_grad]
        self._known.update(new)
        new.sort(key=pyro.get_param_store().param_name)
        if self.torch_optimizer is None:
            made = self.factory(new)
            hint = "; give a class or a partial of it, such as partial(torch.optim.Adam, lr=1e-3)"
            check_kind("optimizer(parameters)", made, torch.optim.Optimizer, hint)
            self.torch_optimizer = _fused(made)
            closure = inspect.signature(self.torch_optimizer.step).parameters.get("closure")
            if closure is not None and closure.default is inspect.Parameter.empty:
                name = type(self.torch_optimizer).__name__
                raise ValueError(
                    f"{name} evaluates the loss again within a step, which SVI does not support"
                )
            self._base_rates = [float(group["lr"]) for group in self.torch_optimizer.param_groups]
        elif new:
            self.torch_optimizer.param_groups[0]["params"] += new

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of the saved state."""
        return [p for group in self.torch_optimizer.param_groups for p in group["params"]]

    def scale_learning_rate(self, factor: float) -> float:
        """Sets the learning rate to `factor` times the initial one; returns the first group's."""
        if factor == self._factor:
            return self._base_rates[0] * factor
        self._factor = factor
        for group, rate in zip(self.torch_optimizer.param_groups, self._base_rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor
        return self._base_rates[0] * factor

    def make_capturable(self) -> bool:
        """Moves the learning rates to tensors on the device, so that a step can be recorded.

        Returns:
            Whether the optimiser supports recording, which only fused optimisers do.
        """
        optimizer = self.torch_optimizer
        fused = bool(getattr(optimizer, "_step_supports_amp_scaling", False))
        for group in optimizer.param_groups if fused else ():
            device = group["params"][0].device
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
            if "capturable" in group:
                group["capturable"] = True
        return fused

    def live_tensors(self) -> list[Tensor]:
        """The tensors that `update` reads and changes: the learning rates, then the state.

        Raises:
            NotImplementedError: if one of them is not a tensor, or does not exist yet.
        """
        optimizer = self.torch_optimizer
        if any("capturable" not in group for group in optimizer.param_groups):
            raise NotImplementedError(f"{type(optimizer).__name__} has no capturable form")
        states = [optimizer.state.get(p, {}) for p in self.parameters()]
        found = [group["lr"] for group in optimizer.param_groups]
        found += [value for state in states for value in state.values() if value is not None]
        if not all(states) or not all(isinstance(value, Tensor) for value in found):
            raise NotImplementedError(f"{type(optimizer).__name__} keeps numbers off the device")
        return found

    def update(self, leaves: list[Tensor], live: list[Tensor], finite: Tensor) -> None:
        """Applies one optimiser step to stand-ins of the parameters and the state, in place.

        It uses the for-each implementation, which can be traced as plain tensor operations.

        Args:
            leaves: stand-ins of the parameters, with gradients.
            live: stand-ins of `live_tensors`.
            finite: of shape `()`; 0 skips the update.
        """
        optimizer = self.torch_optimizer
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
        """The state as tensors named `POSITION.KEY`, the position being that of the parameter."""
        return {
            f"{i}.{key}": torch.as_tensor(value)
            for i, p in enumerate(self.parameters())
            for key, value in self.torch_optimizer.state.get(p, {}).items()
            if value is not None
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restores the result of `state_tensors`; the parameters must be registered before."""
        packed = self.torch_optimizer.state_dict() | {"state": {}}
        for name, value in tensors.items():
            position, key = name.split(".", 1)
            packed["state"].setdefault(int(position), {})[key] = value
        # `load_state_dict` converts each quantity to the dtype and device that it needs.
        self.torch_optimizer.load_state_dict(packed)
        self.started = bool(tensors)
        self.lay_out()

    def lay_out(self) -> None:
        """Gives the state the memory layout of the parameters, which may have changed."""
        for p, state in self.torch_optimizer.state.items():
            for key, value in state.items():
                # Fused updates require the same memory layout for a parameter and its state.
                if key != "step" and value.shape == p.shape:
                    state[key] = torch.empty_like(p).copy_(value)


def clip_gradients(params: Iterable[Tensor], clip_norm: float | None) -> Tensor:
    """Clips gradients to a global norm; returns their norm before, of shape `()`.

    The norm is finite if and only if all gradients are.
    """
    grads = [p.grad for p in params if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    if clip_norm is not None:
        multiply_each(grads, (clip_norm / (norm + 1e-6)).clamp(max=1))
    return norm


def _first_step(optimizer: torch.optim.Optimizer) -> None:
    """Updates the parameters; raises `InputError` if the optimiser takes no such gradients."""
    try:
        optimizer.step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise InputError(f"--optimizer {type(optimizer).__name__}: {error}") from error


def _fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Returns the fused form of an optimiser if the device has one and no form was chosen."""
    kind, options = type(optimizer), optimizer.defaults
    if options.get("fused", False) is not None or options.get("foreach"):
        return optimizer
    known = inspect.signature(kind).parameters
    if "fused" not in known:  # A custom class, derived from one with a fused form.
        return optimizer
    chosen = {name: value for name, value in options.items() if name in known}
    groups = [{**group, "fused": True} for group in optimizer.param_groups]
    try:
        return kind(groups, **(chosen | {"fused": True}))
    except RuntimeError:  # The fused form does not support these parameters or this device.
        return optimizer
