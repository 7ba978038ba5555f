"""The group of processes that train one model together, each on its own device."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from textwrap import shorten
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from pyrovae.utils.errors import InputError

__all__ = ["PeerFailed", "Group", "generators", "processes", "reseed", "set_generators"]

T = TypeVar("T")

#: One process may prepare images or validate for a long time while the others wait. The end of a
#: process is noticed at once, independent of this limit.
PATIENCE = timedelta(days=1)


class PeerFailed(RuntimeError):
    """Another process of the group has ended, so this one cannot continue."""


class Group:
    """The processes that train together; with size 1 no communication takes place.

    Every process calls all methods but `first_to_say` and `check`, in the same order.

    Args:
        rank: the number of this process, from 0.
        size: the number of processes.
        local_rank: the number of this process among those on this machine.

    Raises:
        PeerFailed: from all methods, if another process has ended.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def average(self, tensors: list[Tensor]) -> list[Tensor]:
        """Averages each tensor over the processes, in one all-reduce for all tensors."""
        if self.size == 1:
            return tensors
        device = tensors[0].device
        flat = torch.cat([tensor.reshape(-1).to(device) for tensor in tensors])
        with _failing_in_one_line():
            dist.all_reduce(flat)
        parts = flat.div_(self.size).split([tensor.numel() for tensor in tensors])
        pairs = zip(parts, tensors, strict=True)
        return [part.view(tensor.shape).to(tensor.dtype) for part, tensor in pairs]

    def largest(self, number: float) -> float:
        """The largest of the processes' numbers; does not wait for a device."""
        if self.size == 1:
            return number
        found = torch.tensor(number, dtype=torch.float64)
        with _failing_in_one_line():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.item()

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copies the main process's values into the tensors of all processes."""
        for tensor in tensors if self.size > 1 else ():
            values = tensor.detach().contiguous()
            with _failing_in_one_line():
                dist.broadcast(values, 0)
            tensor.copy_(values)

    def gather(self, value: T) -> list[T]:
        """Returns the values of all processes, ordered by rank."""
        values = [value] * self.size
        if self.size > 1:
            with _failing_in_one_line():
                dist.all_gather_object(values, value)
        return values

    def from_main(self, compute: Callable[[], T]) -> T:
        """Returns to all processes what the main one computes; all raise its `InputError`."""
        if self.size == 1:
            return compute()
        found: list[Any] = [None, None]
        if self.main:
            size, self.size = self.size, 1  # The others do not answer meanwhile.
            try:
                found[0] = compute()
            except InputError as error:
                found[1] = error
            finally:
                self.size = size
        with _failing_in_one_line():
            dist.broadcast_object_list(found, 0)
        if found[1] is not None:
            raise found[1]
        return found[0]

    @contextmanager
    def first_on_machine(self) -> Iterator[None]:
        """Lets one process per machine run the block first, then the others."""
        if self.local_rank > 0:
            self.gather(None)
        yield
        if self.local_rank == 0:
            self.gather(None)

    def first_to_say(self, text: str) -> bool:
        """True in the first process that calls this with a text."""
        if self.size == 1:
            return True
        try:
            return dist.distributed_c10d._get_default_store().add(f"said: {text}", 1) == 1
        except (RuntimeError, AttributeError):  # The group has ended, or the name is gone.
            return True

    def leave(self) -> None:
        """Closes the connections. Later calls do nothing."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def abort(self, code: int) -> None:
        """Exits at once, for when other processes are gone.

        Threads of the connections outlive `sys.exit`; they would end the process by SIGABRT.
        """
        if self.size > 1:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def about(self, batch_size: int, coupled: Iterable[str]) -> list[str]:
        """Lines for the log: images per step, and which parts see one process's images only.

        Args:
            batch_size: of one process.
            coupled: names of parts that couple the images of a process's batch.
        """
        if self.size == 1:
            return []
        lines = [f"{self.size} processes, {self.size * batch_size} images per step"]
        if names := ", ".join(sorted(set(coupled))):
            lines.append(f"computed per process, over its own {batch_size} images: {names}")
        return lines

    def check(self, device: torch.device) -> None:
        """Raises `InputError` unless each process can use its own device of this type."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        if self.size == 1 or device.type == "cpu":
            return
        if device.type != "cuda":
            raise InputError(f"--engine.device {device}: several processes need cuda or cpu")
        if here > torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise InputError(
                f"{here} processes on a machine with {count} GPUs: allowed are at most {count}"
            )
        if here > 1 and device.index not in (None, self.local_rank):
            raise InputError(
                f"--engine.device {device}: each process has its own GPU, give cuda without number"
            )


@lru_cache(maxsize=1)
def processes() -> Group:
    """Connects the processes that `torchrun` started; without `torchrun`, a group of size 1.

    Raises:
        InputError: if the processes cannot be connected.
    """
    try:
        size, local_rank = (int(os.environ.get(n, d)) for n, d in _COUNTED.items())
    except ValueError as error:
        raise InputError(f"{' and '.join(_COUNTED)} must be numbers: {error}") from None
    if size == 1:
        return Group()
    gpus = torch.cuda.device_count() if dist.is_nccl_available() else 0
    if local_rank < gpus:
        torch.cuda.set_device(local_rank)  # What "cuda" without a number means from here on.
    if not dist.is_initialized():
        _connect(size, "cpu:gloo,cuda:nccl" if gpus else "gloo")
    group = Group(dist.get_rank(), size, local_rank)
    if not group.main:  # What there is to warn of, the main process warns of too.
        logging.getLogger("pyrovae").setLevel(logging.ERROR)
    return group


def _connect(size: int, backend: str) -> None:
    """Makes the process group of torch; raises `InputError` if that is not possible."""
    # Its functions have the group as a default: imported later, they would keep it, and with it
    # threads that can end the process by SIGABRT when the interpreter closes.
    import_module("torch.distributed.nn")
    try:
        found = dist.rendezvous("env://", timeout=PATIENCE)  # type: ignore[attr-defined]
        store, rank, size = next(found)
        store = _of_this_start(store, rank, size)
        names = {"store": store, "rank": rank, "world_size": size}
        dist.init_process_group(backend, timeout=PATIENCE, **names)
    except (ValueError, RuntimeError) as error:
        reason = shorten(str(error), 160, placeholder=" ...")
        raise InputError(
            f"cannot connect {size} processes, which torchrun starts together: {reason}"
        ) from error


def _of_this_start(store: Any, rank: int, size: int) -> Any:
    """The part of a store that belongs to the processes that start now.

    `torchrun` keeps one store when it restarts its processes. There are the addresses of those
    that have ended, and it numbers restarts differently on each machine. So the main process
    names the part, and a process takes the name only once the main process has heard of it.
    """
    part, own = dist.PrefixStore, uuid4().hex  # type: ignore[attr-defined]
    if rank == 0:
        store.set("start", own)
        others = [store.get(f"{own}/{other}").decode() for other in range(1, size)]
        store.set(f"{own}/heard", " ".join(others))
        return part(own, store)
    while True:
        start = store.get("start").decode()
        store.set(f"{start}/{rank}", own)
        if store.check([f"{start}/heard"]) and own in store.get(f"{start}/heard").decode():
            return part(start, store)
        time.sleep(0.02)


#: Environment variables that `torchrun` sets, and their defaults.
_COUNTED = {"WORLD_SIZE": 1, "LOCAL_RANK": 0}


@contextmanager
def _failing_in_one_line() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerFailed("another process failed, and this one cannot continue alone") from error


def generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's random generators, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Restores states from `generators`."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def reseed(seed: int, rank: int, step: int) -> None:
    """Seeds torch for a process without a saved generator state."""
    # Mixed, because generators seeded with neighbouring numbers need not be independent.
    mixed = np.random.SeedSequence((seed, rank, step)).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed[0]))
