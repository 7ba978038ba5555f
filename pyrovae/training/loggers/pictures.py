"""Pictures of samples and reconstructions, one file each per epoch."""

from __future__ import annotations

from pyrovae.runs import RunDirectory
from pyrovae.training.loggers.base import Epoch, Logger, Start
from pyrovae.utils.grids import save_png

__all__ = ["Pictures"]


class Pictures(Logger):
    """Writes pictures per epoch: `samples/epoch_0001.png`, `reconstructions/epoch_0001.png`.

    Use it to follow samples and reconstructions over the run.
    """

    def __init__(self) -> None:
        self._run: RunDirectory | None = None

    def begin(self, start: Start) -> None:
        """Stores the run directory."""
        self._run = start.run

    def end_epoch(self, epoch: Epoch) -> None:
        """Writes the pictures of the epoch."""
        if self._run is not None:
            for kind, sheet in epoch.pictures.items():
                save_png(sheet, self._run.picture(kind, epoch.row.epoch))
