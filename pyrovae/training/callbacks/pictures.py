"""Pictures of samples and reconstructions, one file each per epoch."""

from __future__ import annotations

from pyrovae.training.callbacks.base import Callback, Epoch
from pyrovae.utils.files import replacing

__all__ = ["Pictures"]


class Pictures(Callback):
    """Writes pictures per epoch: `samples/epoch_0001.png`, `reconstructions/epoch_0001.png`.

    Use it to follow samples and reconstructions over the run.
    """

    def end_epoch(self, epoch: Epoch) -> None:
        """Writes the pictures of the epoch."""
        if epoch.run is not None:
            for kind, content in epoch.files.items():
                with replacing(epoch.run.picture(kind, epoch.row.epoch)) as temporary:
                    temporary.write_bytes(content)
