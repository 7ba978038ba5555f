"""Pyro's state: one stack of messengers and one parameter store for all threads of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
from torch import nn

from pyrovae.utils.errors import InputError

__all__ = ["own_store", "running_alone", "training_store"]

_lock = threading.RLock()
#: The thread that trains, if any.
_trainer: int | None = None


@contextmanager
def running_alone() -> Iterator[None]:
    """Context that one thread at a time is in, to run programs.

    Raises:
        InputError: if another thread trains, which may take hours.
    """
    while not _lock.acquire(timeout=0.1):
        if _trainer is not None:
            raise InputError(
                "another thread of this process trains, and Pyro's parameter store is one for all "
                "threads; train in a process of its own"
            )
    try:
        yield
    finally:
        _lock.release()


@contextmanager
def own_store(*programs: nn.Module) -> Iterator[None]:
    """Context in which programs register their parameters in a copy of Pyro's global store.

    In the global store they would stay alive as long as the process, and programs that have
    registered parameters cannot be pickled. The values of `pyro.param` are those of the store.
    Programs keep their own parameters, whatever the store has under the same names.

    Args:
        programs: the programs that run inside.
    """
    with running_alone():  # The store of another thread is not copied.
        own = {name for program in programs for name in _constrained(program)}
        state = {
            kind: {name: value for name, value in values.items() if name not in own}
            for kind, values in pyro.get_param_store().get_state().items()
        }
        with _scope(state, programs):
            yield


def _constrained(program: nn.Module) -> Iterator[str]:
    """The names that the store may give each `PyroParam`, which it would replace.

    A name begins at the outermost `PyroModule`, which may be a part of the program.
    """
    for name, _ in program.named_parameters():
        if name.endswith("_unconstrained"):
            path = name.removesuffix("_unconstrained").split(".")
            yield from (".".join(path[start:]) for start in range(len(path)))


@contextmanager
def training_store(programs: nn.Module) -> Iterator[None]:
    """Context with an empty store, in which no other thread may run programs."""
    global _trainer
    with _scope(None, (programs,)):
        outer, _trainer = _trainer, threading.get_ident()
        try:
            yield
        finally:
            _trainer = outer


@contextmanager
def _scope(state: Any, programs: Iterable[nn.Module]) -> Iterator[None]:
    """Context with a parameter store of this state, after which the store is as before."""
    with running_alone():
        try:
            with pyro.get_param_store().scope(state):
                yield
        finally:
            for parameter in (p for program in programs for p in program.parameters()):
                vars(parameter).pop("unconstrained", None)
