"""The batches of an epoch, one per step, split into the host's work and the device's."""

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

    A step calls `stage` for the host's part of the work, then the feed itself for the device's
    part. A CUDA graph repeats the device's part only, so that part reads and writes tensors
    whose addresses stay.
    """

    @abstractmethod
    def begin(self, epoch: int, start: int = 0) -> None:
        """Goes to an epoch, counted from 0, and passes over its first `start` batches."""

    @abstractmethod
    def stage(self) -> None:
        """Does the host's part for the next batch."""

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor]:
        """Does the device's part: uint8 images `(B, C, H, W)` and attributes `(B, A)`."""

    @abstractmethod
    def last(self) -> tuple[Tensor, Tensor]:
        """The batch of the last step again."""

    def position(self) -> int:
        """Where the feed stands, for `return_to`."""
        return 0

    def return_to(self, position: int) -> None:
        """Gives the batches from there again, for a step that failed."""

    @abstractmethod
    def keep_addresses(self) -> None:
        """Gives every batch from here on at the addresses of the last one."""


class HostFeed(Feed):
    """Batches that the host gathers, for any device.

    Args:
        batches: gives the batches of an epoch.
        place: lays a batch out on the device.
    """

    images: Tensor
    attributes: Tensor

    def __init__(self, batches: Batches, place: Layout) -> None:
        super().__init__()
        self.batches, self.place = batches, place
        self._iterator: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._fixed = False

    def begin(self, epoch: int, start: int = 0) -> None:
        """Goes to an epoch and a batch of it."""
        self._iterator = self.batches.labelled(epoch, start)

    def stage(self) -> None:
        """Gathers the next batch, and copies it to the kept addresses where there are any."""
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
        # Buffers, so that a tracer takes them for inputs and not for constants.
        self.register_buffer("images", images)
        self.register_buffer("attributes", attributes)


class DeviceFeed(Feed):
    """Batches of images that lie on the device: it gathers and mirrors them by itself.

    The host sends the order of an epoch once. The number of the next batch is a tensor on the
    device, so that a step needs nothing from the host. Order and mirroring are those of
    `Batches.labelled`.

    Args:
        batches: whose images are a tensor on the device.
        place: lays a batch out.
    """

    images: Tensor
    attributes: Tensor
    order: Tensor
    mirrored: Tensor
    number: Tensor
    places: Tensor

    def __init__(self, batches: Batches, place: Layout) -> None:
        super().__init__()
        assert isinstance(batches.images, Tensor)
        device, count = batches.images.device, len(batches.images)
        self.batches, self.place = batches, place
        own = batches.reader * batches.batch_size
        stop = min(own + batches.batch_size, count)
        tensors = {
            "images": batches.images,
            "attributes": batches.attributes,
            "order": torch.zeros(count, dtype=torch.long, device=device),
            "mirrored": torch.zeros(count, dtype=torch.bool, device=device),
            "number": torch.zeros(1, dtype=torch.long, device=device),
            "places": torch.arange(own, stop, device=device),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def begin(self, epoch: int, start: int = 0) -> None:
        """Sends the order of an epoch to the device."""
        order, mirrored = self.batches.plan(epoch)
        self.order.copy_(order)
        self.mirrored.copy_(mirrored)
        self.number.fill_(start)

    def stage(self) -> None:
        """Does nothing: the device knows the next batch."""

    def forward(self) -> tuple[Tensor, Tensor]:
        """Gathers the next batch, and counts it."""
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
        """Goes back to that batch."""
        self.number.fill_(position)

    def keep_addresses(self) -> None:
        """Does nothing: all addresses stay."""

    def _gathered(self, number: Tensor) -> tuple[Tensor, Tensor]:
        places = number * self.batches.images_per_step + self.places
        rows = self.order.index_select(0, places)
        images = self.images.index_select(0, rows)
        if self.batches.flip:
            mirrored = self.mirrored.index_select(0, places)[:, None, None, None]
            images = torch.where(mirrored, images.flip(-1), images)
        return self.place(images), self.attributes.index_select(0, rows)
