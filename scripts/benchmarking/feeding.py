"""Measures whether training waits for images: the real loop, and the same loop on one batch."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyro
from torch import Tensor

from benchmarking.cases import Case, data_of
from benchmarking.loops import Setting, current, opened_session
from benchmarking.timing import WARM_UP, synchronize
from pyrovae.data import Batches

__all__ = ["Given", "feed", "mapped_images", "paced_session"]


class Given:
    """Replaces the batches of a session, to set the number of steps per epoch.

    Args:
        batches: yields the batches of an epoch.
        count: batches per epoch.
        batch_size: images per batch.
    """

    def __init__(
        self, batches: Callable[[int], Iterator[Any]], count: int, batch_size: int
    ) -> None:
        self.batches, self.count, self.batch_size = batches, count, batch_size

    def __len__(self) -> int:
        return self.count

    def labelled(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields `count` batches with their attributes."""
        for _, batch in zip(range(self.count), self.batches(epoch), strict=False):
            yield batch


@contextmanager
def mapped_images(case: Case, count: int) -> Iterator[np.ndarray]:
    """Yields images that are memory-mapped from a file, as those from the cache are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        some = case.images(min(count, 1024))
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *case.image_shape)}
        # Written, not mapped: a full disk then raises an error and does not kill the process.
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, count, len(some)):
                file.write(some[: count - start].data)
        yield np.load(path, mmap_mode="r")


@contextmanager
def paced_session(
    setting: Setting, images: np.ndarray, compiled: bool
) -> Iterator[tuple[Batches, Callable[[Given], float]]]:
    """Yields the batches of a running session, and a function that times an epoch of `Given`."""
    data = data_of(images, flip=not setting.case.binary)
    with (
        pyro.get_param_store().scope(),
        pyro.validation_enabled(False),
        current(setting.device),
        opened_session(setting, data, compiled) as session,
    ):
        batches: Any = session.batches

        def seconds(given: Any) -> float:
            session.state.begin_epoch()
            session.state.epoch += 1
            session.batches = session.feed.batches = given
            session.train_epoch()
            synchronize(setting.device)
            return session.state.epoch_seconds

        seconds(Given(batches.labelled, WARM_UP, batches.batch_size))
        yield batches, seconds


def feed(
    setting: Setting, compiled: bool, rounds: int, steps: int
) -> tuple[list[float], list[float]]:
    """Seconds per step of the real loop and of the loop on one batch, one number per round."""
    count = steps * setting.case.batch_size
    with (
        mapped_images(setting.case, count) as images,
        paced_session(setting, images, compiled) as (batches, seconds),
    ):
        one = next(batches.labelled(0))
        real = Given(batches.labelled, steps, batches.batch_size)
        same = Given(lambda epoch: itertools.repeat(one), steps, batches.batch_size)
        fed: list[float] = []
        repeated: list[float] = []
        for number in range(rounds):
            # The order alternates, so that slow drifts of the machine affect both alike.
            pair = [(real, fed), (same, repeated)]
            for given, found in pair if number % 2 else pair[::-1]:
                found.append(seconds(given) / steps)
        return fed, repeated
