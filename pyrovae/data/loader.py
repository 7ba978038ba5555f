"""Batches of uint8 images on a device, in an order that only the seed and the epoch decide."""

from __future__ import annotations

import mmap
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.base import Split
from pyrovae.data.integrity import check_whole
from pyrovae.utils.errors import InputError

__all__ = ["Batches", "gather", "spread", "to_device"]

_RESIDENT_BYTES = 256 * 2**20
_TOGETHER_BYTES = 2**19
_FAULT_BYTES = 2**17  # what page faults bring into memory around the ends of a row

_resident: weakref.WeakKeyDictionary[mmap.mmap, int] = weakref.WeakKeyDictionary()


def gather(images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Copy rows of an array into memory, without letting a mapped file pile up there.

    Every page that is read from a memory map stays counted as this process's memory; after some
    256 MB of them a larger map is told to let go. The operating system still keeps the file
    cached.

    Args:
        images: array `(N, ...)`, memory-mapped or not.
        indices: integer array `(B,)`.

    Returns:
        Array `(B, ...)`.
    """
    rows = np.asarray(images).take(indices, axis=0)  # Faster than by brackets.
    mapped = _mapping(images)
    if mapped is not None and len(mapped) > _RESIDENT_BYTES:
        touched = _resident.get(mapped, 0) + rows.nbytes + _FAULT_BYTES * len(rows)
        if touched >= _RESIDENT_BYTES:
            mapped.madvise(mmap.MADV_DONTNEED)
            touched = 0
        _resident[mapped] = touched
    return rows


def spread(images: np.ndarray, count: int) -> np.ndarray:
    """Copies of that many rows, or all if there are fewer, spread evenly over an array."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), count)).astype(int)
    return gather(images, chosen)


def to_device(images: np.ndarray, device: torch.device | str) -> Tensor:
    """Copy a whole array to a device, a piece at a time: `Batches` then indexes it there.

    Args:
        images: uint8 array `(N, C, H, W)`, memory-mapped or not.
        device: where to.

    Returns:
        uint8 tensor `(N, C, H, W)`.
    """
    copied = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, _RESIDENT_BYTES // 8 * len(images) // max(1, images.nbytes))
    for start in range(0, len(images), step):
        rows = np.arange(start, min(start + step, len(images)))
        copied[start : start + step] = torch.from_numpy(gather(images, rows))
    return copied


class Batches:
    """Batches of a split, as uint8 tensors on a device.

    Order and mirroring of an epoch follow from `(seed, epoch)` alone: the global random state is
    neither read nor changed, and an epoch entered at batch `start` yields what a whole one would
    have yielded from there.

    When shuffling, an incomplete last batch is left out if there is a full one: every image has
    the same chance of a place in the next epoch's order. Without shuffling nothing is left out.

    Several readers can share each batch: with a `part`, every batch is that reader's slice of
    one of all readers' images, in the order that a single reader of such batches would have.

    Args:
        images: a split, or its images `(N, C, H, W)`: a uint8 array, or a tensor (see
            `to_device`), which is indexed on the device it lies on.
        batch_size: images a batch, of each reader.
        seed: with the epoch, decides order and mirroring.
        flip: whether each image is mirrored left to right with probability 1/2.
        device: where the batches are wanted.
        shuffle: whether each epoch has an order of its own.
        attributes: names of the split's attributes that `labelled` gives with the images.
        part: which reader of how many this is, as `(0, 2)`.

    Raises:
        InputError: if the split has no such attribute, or fewer images than one batch of
            several readers takes.

    Example:
        >>> images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
        >>> batches = Batches(images, 2, seed=0, shuffle=False)
        >>> [batch.flatten().tolist() for batch in batches.epoch(0)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        images: Split | np.ndarray | Tensor,
        batch_size: int,
        *,
        seed: int,
        flip: bool = False,
        device: torch.device | str = "cpu",
        shuffle: bool = True,
        attributes: Sequence[str] = (),
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.attributes = _columns(images, attributes).to(device)
        self.images = self._stored = images.images if isinstance(images, Split) else images
        if batch_size < 1 or len(self.images) < 1:
            size = f"batch_size {batch_size} for {len(self.images)} images"
            raise ValueError(f"{size}: allowed is 1 or more of both")
        self.batch_size, (self.reader, readers) = batch_size, part
        self.images_per_step = batch_size * readers
        if readers > 1 and len(self.images) < self.images_per_step:
            raise InputError(
                f"{len(self.images)} images to train on are fewer than the {self.images_per_step} "
                f"of a step, {batch_size} in each of {readers} processes"
            )
        self.seed = seed
        self.flip = flip
        self.device = torch.device(device)
        if self.device.type == "cpu":
            self.images = _viewed(self.images)
        self.shuffle = shuffle

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(len(self.images), self.images_per_step)
        return max(full, 1) if self.shuffle else full + (rest > 0)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The batches of one epoch.

        Args:
            epoch: which one, from 0.
            start: the number of batches to pass over, when resuming inside an epoch.

        Yields:
            uint8 tensors `(B, C, H, W)` on the device.
        """
        for images, _ in self.labelled(epoch, start):
            yield images

    def labelled(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, with the attributes that were named.

        Args:
            epoch: which one, from 0.
            start: the number of batches to pass over, when resuming inside an epoch.

        Yields:
            uint8 images `(B, C, H, W)` and float32 attributes `(B, A)`, on the device.
        """
        if epoch < 0 or start < 0:
            raise ValueError(f"epoch {epoch}, start {start}: allowed is 0 or more")
        order, mirrored = self.plan(epoch)
        mirrored = mirrored.to(self.device)
        # Once an epoch, and not where a thread reads ahead: it would wait for the device.
        placed = order.to(self.attributes.device)
        rows = placed if isinstance(self.images, Tensor) else order
        labels = self._parts(self.attributes[placed], start)
        flips = self._parts(mirrored, start)
        batches = self._gathered(self._parts(rows, start))
        for images, flip, label in zip(batches, flips, labels, strict=True):
            yield self._flipped(images, flip), label

    def _parts(self, values: Tensor, start: int) -> Sequence[Tensor]:
        """This reader's part of each batch, from values in the order of an epoch."""
        first, count = start * self.images_per_step, len(self) - start
        steps = values[first:].split(self.images_per_step)[:count]
        if self.images_per_step == self.batch_size:
            return steps
        own = self.reader * self.batch_size
        return [values[own : own + self.batch_size] for values in steps]

    def plan(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The order of an epoch `(N,)`, and which of its places are mirrored, on the CPU."""
        check_whole(self._stored)
        # Mixed, because generators seeded with neighbouring numbers need not be independent.
        mixed = np.random.SeedSequence((self.seed % 2**64, epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        count = len(self.images)
        order = torch.arange(count)
        if self.shuffle:
            order = torch.randperm(count, generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        return order, mirrored

    def _gathered(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images of these rows, on the device."""
        images = self.images
        if isinstance(images, Tensor):
            # Small batches several at a time, which costs less than one by one.
            together = max(1, _TOGETHER_BYTES // max(1, images[0].nbytes * self.batch_size))
            for some in (parts[n : n + together] for n in range(0, len(parts), together)):
                chosen = images.index_select(0, torch.cat(list(some)).to(images.device))
                yield from chosen.to(self.device).split([len(rows) for rows in some])
        elif self.device.type == "cuda":
            host = ahead(lambda rows: _read(images, rows).pin_memory(), parts)
            # From pinned memory the copy does not wait for the work queued on the device.
            yield from (batch.to(self.device, non_blocking=True) for batch in host)
        else:
            yield from (_read(images, rows).to(self.device) for rows in parts)

    def _flipped(self, batch: Tensor, mirrored: Tensor) -> Tensor:
        if not self.flip:
            return batch
        if batch.device.type == "cpu":  # NumPy: torch's threads would wait for those of training
            values, chosen = batch.numpy(), mirrored.numpy()
            values[chosen] = values[chosen][..., ::-1]
            return batch
        return torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)


def ahead(work: Callable[[Any], Any], items: Iterable[Any], depth: int = 2) -> Iterator[Any]:
    """The results of work on items, in order; a thread is that many items ahead.

    Example:
        >>> list(ahead(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _viewed(images: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """A small array as a tensor, which torch gathers rows of faster; it is not copied."""
    if isinstance(images, Tensor) or images.nbytes > _RESIDENT_BYTES:
        return images
    with warnings.catch_warnings():  # That nobody must write to a file that is only read.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.asarray(images))


def _read(images: np.ndarray, rows: Tensor) -> Tensor:
    return torch.from_numpy(gather(images, rows.numpy()))


def _columns(images: Split | np.ndarray | Tensor, names: Sequence[str]) -> Tensor:
    """The attributes of those names, `(N, A)`; raises `InputError` if one is not there."""
    known = list(images.attribute_names) if isinstance(images, Split) else []
    for name in names:
        if name not in known:
            raise InputError(f"the images have no attribute '{name}'; known: {known or 'none'}")
    if not isinstance(images, Split) or not names:
        return torch.empty(len(images), 0)
    return torch.from_numpy(images.attributes[:, [known.index(name) for name in names]])


def _mapping(images: np.ndarray) -> mmap.mmap | None:
    """The map behind an array, if its pages can be dropped and read again."""
    array: Any = images
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    if not isinstance(array, np.memmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    # Pages of a private map ("c") may hold changes, which dropping them would undo.
    return getattr(array, "_mmap", None) if array.mode in ("r", "r+") else None
