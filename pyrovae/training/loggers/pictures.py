"""Pictures of samples and reconstructions, one file of each per epoch."""

from __future__ import annotations

from pyrovae.runs import RunDirectory
from pyrovae.training.loggers.base import Epoch, Logger, Start
from pyrovae.utils.grids import save_png

__all__ = ["Pictures"]


class Pictures(Logger):
    """Writes `samples/epoch_0001.png` and `reconstructions/epoch_0001.png` into the run.

    Use it to see samples and reconstructions improve.
    """

    def __init__(self) -> None:
        self._run: RunDirectory | None = None

    def begin(self, start: Start) -> None:
        """Notes where the run is."""
        self._run = start.run

    def end_epoch(self, epoch: Epoch) -> None:
        """Writes the pictures of the epoch."""
        if self._run is not None:
            for kind, sheet in epoch.pictures.items():
                save_png(sheet, self._run.picture(kind, epoch.row.epoch))
