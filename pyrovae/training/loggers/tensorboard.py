"""TensorBoard: metrics and pictures per epoch."""

from __future__ import annotations

import re

from pyrovae.training.loggers.base import Epoch, Logger, RunInfo
from pyrovae.training.loggers.events import EventFile

__all__ = ["TensorBoard"]


class TensorBoard(Logger):
    """Writes metrics and pictures to an event file in `tensorboard/` of the run directory.

    Use it to follow a run from another machine, or to compare runs.
    """

    def __init__(self) -> None:
        self._file: EventFile | None = None

    def begin(self, info: RunInfo) -> None:
        """Opens a new event file, which replaces later steps in earlier files."""
        if info.run is not None:
            self._file = EventFile(info.run.tensorboard, purge_step=info.step + 1)

    def end_epoch(self, epoch: Epoch) -> None:
        """Writes the metrics and pictures of the epoch."""
        if self._file is None:
            return
        for name, value in epoch.row.columns().items():
            if value is not None and name not in ("epoch", "step"):
                tag = re.sub("^(train|val|objective)_", r"\1/", name)
                self._file.add_scalar(tag, value, epoch.row.step)
        for kind, sheet in epoch.pictures.items():
            self._file.add_picture(kind, sheet, epoch.files[kind], epoch.row.step)
        self._file.flush()

    def end(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
