"""Files of a run directory: pictures per epoch, and a summary of the run."""

from __future__ import annotations

from pyrovae.training.callbacks.base import Callback, Epoch
from pyrovae.training.overview import write_curve, write_index
from pyrovae.utils.files import replace_file

__all__ = ["Pictures", "RunPage"]


class Pictures(Callback):
    """Writes pictures per epoch: `samples/epoch_0001.png`, `reconstructions/epoch_0001.png`.

    Use it to follow samples and reconstructions over the run.
    """

    def end_epoch(self, epoch: Epoch) -> None:
        """Writes the pictures of the epoch."""
        if epoch.run is not None:
            for kind, content in epoch.files.items():
                replace_file(epoch.run.picture(kind, epoch.row.epoch), content)


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
