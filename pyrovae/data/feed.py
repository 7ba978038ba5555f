"""Feeds: the batches of an epoch, one per step, prepared in a host part and a device part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from pyrovae.data.loader import Batches

__all__ = ["DeviceFeed", "Feed", "HostFeed"]

Layout = Callable[[Tensor], Tensor]


class Feed(nn.Module, ABC):
    """Gives one batch per step.

    A step calls `stage` for the host part of the work, then the feed itself for the device part.
    A CUDA graph replays the device part only, so that part reads and writes tensors at fixed
    addresses.
    """

    @abstractmethod
    def begin(self, epoch: int, start: int = 0) -> None:
        """Starts an epoch, counted from 0, after its first `start` batches."""

    def stage(self) -> None:
        """Does the host part for the next batch; by default nothing."""

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor]:
        """Does the device part; returns uint8 images `(B, C, H, W)` and attributes `(B, A)`."""

    @abstractmethod
    def last(self) -> tuple[Tensor, Tensor]:
        """Returns the batch of the last step again."""

    def position(self) -> int:
        """The current position of the feed, for `return_to`."""
        return 0

    def return_to(self, position: int) -> None:
        """Returns to an earlier position, to repeat a step that failed."""

    def keep_addresses(self) -> None:
        """Fixes the addresses: every later batch is at the addresses of the last one.

        By default all addresses are fixed already.
        """


class HostFeed(Feed):
    """A feed of batches that the host gathers, for any device.

    Args:
        batches: yields the batches of an epoch.
        place: moves a batch to the device in the engine's memory format.
    """

    images: Tensor
    attributes: Tensor

    def __init__(self, batches: Batches, place: Layout) -> None:
        super().__init__()
        self.batches, self.place = batches, place
        self._iterator: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._fixed = False

    def begin(self, epoch: int, start: int = 0) -> None:
        """Starts an epoch at one of its batches."""
        self._iterator = self.batches.labelled(epoch, start)

    def stage(self) -> None:
        """Gathers the next batch; copies it to the fixed addresses, if there are any."""
        images, attributes = next(self._iterator)
        images = self.place(images)
        if not self._fixed:
            self._stage(images, attributes)
            return
        self.images.copy_(images, non_blocking=True)
        self.attributes.copy_(attributes, non_blocking=True)

    def forward(self) -> tuple[Tensor, Tensor]:
        """The staged batch."""
        return self.last()

    def last(self) -> tuple[Tensor, Tensor]:
        """The staged batch."""
        return self.images, self.attributes

    def keep_addresses(self) -> None:
        """Copies the staged batch, since the data set may own its memory."""
        if not self._fixed:
            self._stage(self.images.clone(), self.attributes.clone())
            self._fixed = True

    def _stage(self, images: Tensor, attributes: Tensor) -> None:
        # Buffers, so that a tracer treats them as inputs and not as constants.
        self.register_buffer("images", images)
        self.register_buffer("attributes", attributes)


class DeviceFeed(Feed):
    """A feed of batches that the device gathers and mirrors from images in its memory.

    The host sends the order and the random numbers once per epoch. The number of the next batch
    is a tensor on the device, so a step needs nothing from the host. Order, mirroring and
    augmentation are those of `Batches.labelled`.

    Args:
        batches: batches whose images are a tensor on the device.
        place: puts a batch in the engine's memory format.
    """

    images: Tensor
    attributes: Tensor
    order: Tensor
    mirrored: Tensor
    random: Tensor
    number: Tensor
    places: Tensor

    def __init__(self, batches: Batches, place: Layout) -> None:
        super().__init__()
        assert isinstance(batches.images, Tensor)
        device, count = batches.images.device, len(batches.rows)
        self.batches, self.place = batches, place
        own = batches.reader * batches.batch_size
        stop = min(own + batches.batch_size, count)
        tensors = {
            "images": batches.images,
            "attributes": batches.attributes,
            "order": torch.zeros(count, dtype=torch.long, device=device),
            "mirrored": torch.zeros(count, dtype=torch.bool, device=device),
            "random": torch.zeros(count, batches.numbers, device=device),
            "number": torch.zeros(1, dtype=torch.long, device=device),
            "places": torch.arange(own, stop, device=device),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def begin(self, epoch: int, start: int = 0) -> None:
        """Sends the order of an epoch to the device."""
        order, mirrored, random = self.batches.plan(epoch)
        self.order.copy_(order)
        self.mirrored.copy_(mirrored)
        self.random.copy_(random)
        self.number.fill_(start)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Gathers the next batch and advances the number."""
        batch = self._gathered(self.number)
        self.number.add_(1)
        return batch

    def last(self) -> tuple[Tensor, Tensor]:
        """Gathers the last batch again."""
        return self._gathered(self.number - 1)

    def position(self) -> int:
        """The number of the next batch."""
        return int(self.number)

    def return_to(self, position: int) -> None:
        """Returns to a batch."""
        self.number.fill_(position)

    def _gathered(self, number: Tensor) -> tuple[Tensor, Tensor]:
        places = number * self.batches.images_per_step + self.places
        rows = self.order.index_select(0, places)
        images = self.images.index_select(0, rows)
        if self.batches.flip:
            mirrored = self.mirrored.index_select(0, places)[:, None, None, None]
            images = torch.where(mirrored, images.flip(-1), images)
        if self.batches.augment:
            images = self.batches.augmented(images, self.random.index_select(0, places))
        return self.place(images), self.attributes.index_select(0, rows)
