"""Pictures of samples and reconstructions, one file each per epoch."""

from __future__ import annotations

from pyrovae.runs import RunDirectory
from pyrovae.training.callbacks.base import Callback, Epoch, RunInfo
from pyrovae.utils.files import replacing

__all__ = ["Pictures"]


class Pictures(Callback):
    """Writes pictures per epoch: `samples/epoch_0001.png`, `reconstructions/epoch_0001.png`.

    Use it to follow samples and reconstructions over the run.
    """

    def __init__(self) -> None:
        self._run: RunDirectory | None = None

    def begin(self, info: RunInfo) -> None:
        """Stores the run directory."""
        self._run = info.run

    def end_epoch(self, epoch: Epoch) -> None:
        """Writes the pictures of the epoch."""
        if self._run is not None:
            for kind, content in epoch.files.items():
                with replacing(self._run.picture(kind, epoch.row.epoch)) as temporary:
                    temporary.write_bytes(content)
