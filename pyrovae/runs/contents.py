"""Type checks of the state in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from pyrovae.runs.state import TrainingState
from pyrovae.utils.errors import InputError

__all__ = ["check_best", "check_resumable", "checked_state"]

_NEEDED = ("num_images", "images", "epoch", "batch", "step", "best", "config")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_ranking(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and _is_number(pair[0]) and _is_count(pair[1])
        for pair in value
    )


_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "int": _is_count,
    "float": _is_number,
    "str": _is_text,
    "bool": lambda value: isinstance(value, bool),
}
_CHECKS = {
    "config": _is_text,
    "num_tensors": _is_count,
    "val_elbo": _is_number,
    **{own.name: _ALLOWED.get(str(own.type), _is_ranking) for own in fields(TrainingState)},
}


def checked_state(path: Path, state: Any, num_tensors: int) -> dict[str, Any]:
    """Returns a checkpoint's state if every value has the expected type.

    Args:
        path: the checkpoint.
        state: what it holds besides tensors.
        num_tensors: how many tensors it holds.

    Raises:
        InputError: if a value has another type, or the number of tensors is wrong.
    """
    if not isinstance(state, dict):
        raise InputError(f"{path}: its state must be a table, got {str(state)[:100]!r}")
    for name, check in _CHECKS.items():
        if name in state and not check(state[name]):
            raise InputError(
                f"{path}: its state has a wrong value, {name} = {str(state[name])[:100]!r}"
            )
    if state.get("num_tensors", num_tensors) != num_tensors:
        raise InputError(f"{path}: holds {num_tensors} tensors, not {state['num_tensors']}")
    return state


def check_resumable(path: Path, state: dict[str, Any], tensors: Iterable[str]) -> None:
    """Raises `InputError` unless a checkpoint holds all that resuming needs."""
    if "num_images" not in state:
        raise InputError(f"{path}: holds weights only, which cannot be resumed")
    if missing := [name for name in _NEEDED if name not in state]:
        raise InputError(f"{path}: its state lacks {', '.join(missing)}")
    if strangers := [name for name in tensors if "." not in name]:
        raise InputError(f"{path}: holds an unknown tensor {strangers[0][:100]!r}")


def check_best(path: Path, state: dict[str, Any], last: dict[str, Any]) -> None:
    """Raises `InputError` if the best weights belong to another run than the last checkpoint.

    Args:
        path: the file of the best weights.
        state: the state in that file; older versions wrote less.
        last: the state of the run's last checkpoint.
    """
    elbo, _ = last["best"][0]
    if state.get("run") not in (None, last.get("run")):
        raise InputError(
            f"{path}: holds weights of another run than last.safetensors in the same folder"
        )
    if repr(state.get("val_elbo", elbo)) != repr(elbo):  # Text: NaN is not equal to itself.
        raise InputError(
            f"{path}: holds weights with validation ELBO {state['val_elbo']:,.3f}, but the best "
            f"of the run is {elbo:,.3f}"
        )
