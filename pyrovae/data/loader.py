"""Batches of uint8 images on a device, in an order that depends on seed and epoch only."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.augmentation import Augmentation, changed
from pyrovae.data.base import Split, check_augment, listed
from pyrovae.data.integrity import check_whole
from pyrovae.data.labels import check_finite
from pyrovae.data.rows import RESIDENT_BYTES, Rows, gather, spread_rows
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut
from pyrovae.utils.text import listed as listed_names

__all__ = ["Batches", "gather", "spread", "to_device"]

_TOGETHER_BYTES = 2**19


def spread(images: np.ndarray, count: int) -> np.ndarray:
    """Copies `count` rows, spread evenly over an array; all rows if there are fewer."""
    return gather(images, spread_rows(len(images), count))


def to_device(images: np.ndarray, device: torch.device | str) -> Tensor:
    """Copies a whole array to a device in pieces, so that `Batches` can index it there.

    Args:
        images: uint8 array `(N, C, H, W)`, memory-mapped or not.
        device: the target device.

    Returns:
        uint8 tensor `(N, C, H, W)`.
    """
    copied = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, RESIDENT_BYTES // 8 * len(images) // max(1, images.nbytes))
    for start in range(0, len(images), step):
        rows = np.arange(start, min(start + step, len(images)))
        copied[start : start + step] = torch.from_numpy(gather(images, rows))
    return copied


class Batches:
    """Batches of a split, as uint8 tensors on a device.

    Order, mirroring and augmentation of an epoch depend on `(seed, epoch)` only. The global random
    state is neither read nor changed. An epoch that starts at batch `start` yields the same
    batches as a whole epoch from there.

    With shuffling, an incomplete last batch is left out if there is a full one; the next epoch
    has another order. Without shuffling nothing is left out.

    Several readers can share each step: with `part`, a batch is this reader's slice of the images
    of all readers, in the order that a single reader of such steps would have.

    Args:
        images: a split, or its images `(N, C, H, W)`: a uint8 array, or a tensor (see
            `to_device`), which is indexed on its own device.
        batch_size: images per batch and reader.
        seed: determines order, mirroring and augmentation, together with the epoch.
        flip: whether each image is mirrored left to right with probability 1/2.
        device: the device of the batches.
        shuffle: whether each epoch has its own random order.
        attributes: names of the attributes that `labelled` returns with the images.
        part: the index of this reader and the number of readers, such as `(0, 2)`.
        augment: further changes of each image, in this order, after the mirroring.
        rows: the rows of an epoch, `(M,)`; a row may occur several times. By default an epoch has
            each row once.

    Raises:
        InputError: if the split has no such attribute, or not for all images, or if several
            readers need more images for one step than there are.

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
        augment: Sequence[Augmentation] = (),
        rows: np.ndarray | None = None,
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
                f"{len(self.images)} training images are fewer than the {self.images_per_step} "
                f"images per step: {batch_size} in each of {readers} processes"
            )
        self.seed, self.flip, self.shuffle = seed, flip, shuffle
        self.augment: Sequence[Augmentation] = listed(augment)
        check_augment(self.augment)
        self.device = torch.device(device)
        if self.device.type == "cpu":
            self.images = _viewed(self.images)
        self.rows = torch.arange(len(self.images)) if rows is None else torch.from_numpy(rows)

    def __len__(self) -> int:
        """Batches per epoch."""
        full, rest = divmod(len(self.rows), self.images_per_step)
        return max(full, 1) if self.shuffle else full + (rest > 0)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Yields the batches of one epoch.

        Args:
            epoch: the epoch, from 0.
            start: the number of batches to skip, when resuming inside an epoch.

        Yields:
            uint8 tensors `(B, C, H, W)` on the device.
        """
        for images, _ in self.labelled(epoch, start):
            yield images

    def labelled(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches of one epoch with the attributes that the constructor names.

        Args:
            epoch: the epoch, from 0.
            start: the number of batches to skip, when resuming inside an epoch.

        Yields:
            uint8 images `(B, C, H, W)` and float32 attributes `(B, A)`, on the device.
        """
        if epoch < 0 or start < 0:
            raise ValueError(f"epoch {epoch}, start {start}: allowed is 0 or more")
        order, mirrored, random = (values.to(self.device) for values in self.plan(epoch))
        # Once per epoch, not in the thread that reads ahead: there it would wait for the device.
        rows = order if isinstance(self.images, Tensor) else order.cpu()
        labels = self._parts(self.attributes[order], start)
        changes = self._parts(mirrored, start), self._parts(random, start)
        batches = self._gathered(self._parts(rows, start))
        for images, flip, numbers, label in zip(batches, *changes, labels, strict=True):
            yield self.augmented(self._flipped(images, flip), numbers), label

    def _parts(self, values: Tensor, start: int) -> Sequence[Tensor]:
        """This reader's part of each step, from values in the order of an epoch."""
        first, count = start * self.images_per_step, len(self) - start
        steps = values[first:].split(self.images_per_step)[:count]
        if self.images_per_step == self.batch_size:
            return steps
        own = self.reader * self.batch_size
        return [values[own : own + self.batch_size] for values in steps]

    @property
    def numbers(self) -> int:
        """The number of random numbers per image that the augmentations take, R."""
        return sum(own.numbers for own in self.augment)

    def augmented(self, images: Tensor, random: Tensor) -> Tensor:
        """Applies the augmentations to uint8 images `(B, C, H, W)`, given numbers `(B, R)`."""
        for own, part in zip(
            self.augment, random.split([own.numbers for own in self.augment], 1), strict=True
        ):
            images = changed(images, part, own)
        return images

    def plan(self, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """The plan of an epoch, on the CPU.

        Returns:
            The order of the rows `(M,)`, the mirrored places in it `(M,)`, and the random numbers
            of the augmentations `(M, R)`, uniform on [0, 1).
        """
        check_whole(self._stored)
        # Mixed: generators with neighbouring seeds need not be independent.
        mixed = np.random.SeedSequence((self.seed % 2**64, epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        count, order = len(self.rows), self.rows
        if self.shuffle:
            order = order[torch.randperm(count, generator=generator)]
        mirrored = torch.rand(count, generator=generator) < 0.5
        return order, mirrored, torch.rand(count, self.numbers, generator=generator)

    def _gathered(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images of these rows, on the device."""
        images = self.images
        if isinstance(images, Tensor):
            # Gathering several small batches at a time is faster than one by one.
            together = max(1, _TOGETHER_BYTES // max(1, images[0].nbytes * self.batch_size))
            for some in (parts[n : n + together] for n in range(0, len(parts), together)):
                chosen = images.index_select(0, torch.cat(list(some)).to(images.device))
                yield from chosen.to(self.device).split([len(rows) for rows in some])
        elif self.device.type == "cuda":
            host = ahead(lambda rows: _read(images, rows).pin_memory(), parts)
            # A copy from pinned memory does not wait for the work queued on the device.
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


def ahead(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Yields the results of work on items, in order; a thread works two items ahead.

    Example:
        >>> list(ahead(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _viewed(images: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Returns a small array as a tensor without a copy: torch gathers its rows faster."""
    if isinstance(images, Tensor | Rows) or images.nbytes > RESIDENT_BYTES:
        return images
    with warnings.catch_warnings():  # torch warns of read-only memory; nothing writes to it.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.asarray(images))


def _read(images: np.ndarray, rows: Tensor) -> Tensor:
    return torch.from_numpy(gather(images, rows.numpy()))


def _columns(images: Split | np.ndarray | Tensor, names: Sequence[str]) -> Tensor:
    """The named attributes, `(N, A)`; raises `InputError` if one does not exist."""
    if not names:
        return torch.empty(len(images), 0)
    if not isinstance(images, Split):
        raise InputError(f"the images have no attributes; needed are {listed_names(names)}")
    found = images.attributes[:, images.places(names)]
    for name, column in zip(names, found.T, strict=True):
        check_finite(name, column)
    _check_known(images, names, found)
    return torch.from_numpy(found)


def _check_known(split: Split, names: Sequence[str], values: np.ndarray) -> None:
    """Raises `InputError` if attributes `(N, A)` of these names are not known for all images."""
    unknown = np.isnan(values)
    counts = dict(zip(names, unknown.sum(0).tolist(), strict=True))
    lacking = {name: count for name, count in counts.items() if count}
    if lacking:
        found = listed_names(f"{cut(name)} for {count:,}" for name, count in lacking.items())
        raise InputError(
            f"attributes are not known for all of {len(values):,} images: {found}, such as "
            f"{cut(split.names[int(unknown.any(1).argmax())])}; state them for all images, or "
            f"leave such images out: add {cut(' '.join(lacking))} to --data.known"
        )
