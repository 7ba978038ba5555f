"""Hooks and Python state of programs, which a compiled or recorded step would leave out."""

from __future__ import annotations

import inspect
import random
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, cycle
from typing import Any, TypeVar

import numpy as np
from pyro.infer import ELBO
from torch import Tensor, nn

from pyrovae.objectives import Objective

__all__ = ["PythonState", "check_hooks", "parts_of", "unchanging", "watched_hooks"]

T = TypeVar("T")

#: How deep attributes of attributes are compared.
DEPTH = 3

#: Attributes of every module, and tensors of an objective that a graph has as inputs.
_SKIPPED = frozenset((*vars(nn.Module()), "state"))


def check_hooks(module: nn.Module) -> None:
    """Raises `NotImplementedError` for a hook on gradients, which a graph would leave out."""
    for name, part in module.named_modules():
        if part._backward_hooks or part._backward_pre_hooks:
            raise NotImplementedError(f"{_shown(name)} has a backward hook")
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise NotImplementedError(f"{_shown(name)} has a hook on its gradient")


@contextmanager
def watched_hooks(parts: Mapping[str, object]) -> Iterator[list[str]]:
    """Context that collects which forward hooks return nothing.

    Such a hook changes no tensor, so it does something else, which a graph would leave out. Those
    of `torch.nn.utils`, such as spectral normalisation, set weights.

    Args:
        parts: modules and other objects by name.
    """
    found: list[str] = []
    modules = [(name, part) for name, part in parts.items() if isinstance(part, nn.Module)]
    hooks = [
        (name, held, key, hook)
        for name, part in modules
        for held in (part._forward_pre_hooks, part._forward_hooks)
        for key, hook in held.items()
        if not type(hook).__module__.startswith("torch.nn.utils")
    ]

    def watching(name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if (result := hook(*args, **kwargs)) is None:
                found.append(f"{name} has a hook that returns nothing")
            return result

        return call

    for name, held, key, hook in hooks:
        held[key] = watching(name, hook)
    try:
        yield found
    finally:
        for _, held, key, hook in hooks:
            held[key] = hook


def parts_of(module: nn.Module, objective: Objective) -> dict[str, object]:
    """The submodules of a module and the objectives, by name."""
    parts: dict[str, object] = {_shown(name): part for name, part in module.named_modules()}
    # Observations are made by the pair of the programs, which is not one of the modules.
    for observe in (vars(part).get("observe") for part in module.modules()):
        if inspect.ismethod(observe):
            parts["programs"] = observe.__self__
    inner: object = objective
    while isinstance(inner, Objective | ELBO):
        parts[f"objective {type(inner).__name__}"] = inner
        inner = next((v for v in vars(inner).values() if isinstance(v, Objective | ELBO)), None)
    return parts


def unchanging(parts: Mapping[str, object], run: Callable[[], T]) -> T:
    """Returns what a function returns that must change no Python state.

    The first run may change attributes, since it may initialise something. Then it runs again.

    Args:
        parts: the objects whose attributes are compared, by name.
        run: the function.

    Raises:
        NotImplementedError: if attributes, or Python's or NumPy's generator, change at each run.
            They then have their values from before the call.
    """
    first = before = PythonState(parts)
    try:
        for _ in range(2):
            found = run()
            after = PythonState(parts)
            if not (reason := before.changes(after)):
                return found
            before = after
        raise NotImplementedError(reason)
    except BaseException:
        first.restore()
        raise


class PythonState:
    """The attributes of objects, and the states of Python's and NumPy's generators.

    Args:
        parts: the objects by name.
    """

    def __init__(self, parts: Mapping[str, object]) -> None:
        self.parts = parts
        found = [
            (name, key, own) for name, part in parts.items() for key, own in _attributes(part)
        ]
        self.values = {(name, key): _copied(own) for name, key, own in found}
        self.prints = {(name, key): _print_of(own) for name, key, own in found}
        self.generators = random.getstate(), np.random.get_state()

    def changes(self, after: PythonState) -> str:
        """Which value differs first; "" if none does."""
        for (name, key), own in after.prints.items():
            if self.prints.get((name, key)) != own:
                return f"{name}.{key} changes from step to step".lstrip(".")
        if _print_of(self.generators) != _print_of(after.generators):
            return "Python's or NumPy's random generator is used"
        return ""

    def restore(self) -> None:
        """Gives the attributes and the generators these values, but for objects in attributes."""
        for (name, key), value in self.values.items():
            own = vars(self.parts[name]).get(key)
            if isinstance(own, np.random.Generator):
                own.bit_generator.state = value
            elif isinstance(own, random.Random):
                own.setstate(value)
            elif isinstance(own, list | deque):
                own.clear()
                own.extend(value)
            elif isinstance(own, dict | set):
                own.clear()
                own.update(value)
            else:
                setattr(self.parts[name], key, value)
        random.setstate(self.generators[0])
        np.random.set_state(self.generators[1])


def _attributes(part: object) -> Iterator[tuple[str, Any]]:
    """The attributes that are compared: all but those of every module, and computed weights."""
    held = vars(part).get("_parameters", {})
    for key, value in vars(part).items():
        computed = key.startswith("_") or f"{key}_orig" in held or f"{key}_g" in held
        if key in _SKIPPED or key.startswith("_pyro") or isinstance(value, Objective | ELBO):
            continue
        if isinstance(value, Tensor) and computed:
            continue
        yield key, value


def _copied(value: Any) -> Any:
    """A copy of a value that can be restored later."""
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, random.Random):
        return value.getstate()
    return value.copy() if isinstance(value, list | dict | set | deque | np.ndarray) else value


def _print_of(value: Any, depth: int = 0) -> Any:
    """A comparable form of a value; None for nested tensors and torch objects."""
    if isinstance(value, bool | int | float | str | bytes | None | count | cycle):
        return repr(value)
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, Tensor):
        return None if depth else id(value)
    if isinstance(value, np.random.Generator | random.Random):
        return repr(_copied(value))
    inner = vars(value) if _is_plain(value) else value
    if depth > DEPTH or isinstance(value, nn.Module | type):
        return None
    if isinstance(inner, Mapping):
        return {repr(key): _print_of(own, depth + 1) for key, own in inner.items()}
    if isinstance(inner, list | tuple | deque):
        return [_print_of(own, depth + 1) for own in inner]
    return sorted(map(repr, inner)) if isinstance(inner, set | frozenset) else None


def _is_plain(value: Any) -> bool:
    """Whether a value is an object of a class of the user, or of Python, with attributes."""
    foreign = type(value).__module__.startswith(("torch", "pyro", "builtins", "functools"))
    return hasattr(value, "__dict__") and not foreign and not isinstance(value, nn.Module | type)


def _shown(name: str) -> str:
    """The name of a module in the programs, without those of the modules that compute steps."""
    return re.sub(r"^(gradients\.)?batch\.", "", name)
