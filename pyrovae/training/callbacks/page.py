"""`index.html` and `curve.png` of a run directory: the run at a glance."""

from __future__ import annotations

from pyrovae.runs import RunDirectory
from pyrovae.training.callbacks.base import Callback, Epoch, RunInfo
from pyrovae.training.overview import write_curve, write_index

__all__ = ["RunPage"]


class RunPage(Callback):
    """Writes `curve.png` and `index.html` into the run directory after each epoch.

    The page shows settings, curve, newest pictures and warnings, and links to results.

    Use it to look at a run without any other program.
    """

    def __init__(self) -> None:
        self._run: RunDirectory | None = None

    def begin(self, info: RunInfo) -> None:
        """Stores the run directory."""
        self._run = info.run

    def end_epoch(self, epoch: Epoch) -> None:
        """Rewrites the curve and the page."""
        if self._run is not None:
            write_curve(self._run, epoch.rows)
            write_index(self._run, epoch.rows)
