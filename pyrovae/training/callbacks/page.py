"""`index.html` and `curve.png` of a run directory: a summary of the run."""

from __future__ import annotations

from pyrovae.training.callbacks.base import Callback, Epoch
from pyrovae.training.overview import write_curve, write_index

__all__ = ["RunPage"]


class RunPage(Callback):
    """Writes `curve.png` and `index.html` into the run directory after each epoch.

    The page shows settings, curve, newest pictures and warnings, and links to results.

    Use it to look at a run without any other program.
    """

    def end_epoch(self, epoch: Epoch) -> None:
        """Rewrites the curve and the page."""
        if epoch.run is not None:
            write_curve(epoch.run, epoch.rows)
            write_index(epoch.run, epoch.rows)
