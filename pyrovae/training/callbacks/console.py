"""The terminal: one line per message and epoch, and a progress bar."""

from __future__ import annotations

import sys
from typing import Any

from pyrovae.training.callbacks.base import Callback, Epoch, RunInfo
from pyrovae.utils.contention import Contention
from pyrovae.utils.progress import hides_bar

__all__ = ["Console"]


class Console(Callback):
    """Prints a line per epoch, and shows a progress bar with ELBO, rate and images/s.

    The bar is shown on a terminal and in a notebook.

    Use it to follow a run while it trains.
    """

    def __init__(self) -> None:
        self._epochs = 0
        self._bar: Any = None
        self._contention = Contention(threads=0)

    def begin(self, info: RunInfo) -> None:
        """Stores the number of epochs of the run."""
        self._epochs = info.epochs
        self._contention = Contention(info.threads)

    def begin_epoch(self, epoch: int, num_images: int, done: int) -> None:
        """Opens the progress bar of an epoch."""
        from tqdm import tqdm

        self._bar = tqdm(
            total=num_images,
            initial=done,
            desc=f"epoch {epoch}/{self._epochs}",
            unit=" images",
            disable=hides_bar(),
            leave=False,
            dynamic_ncols=True,
        )

    def step(self, num_images: int, elbo: float, rate: float) -> None:
        """Advances the progress bar by one batch."""
        self._bar.set_postfix_str(f"ELBO {elbo:,.0f}, rate {rate:,.1f}", refresh=False)
        self._bar.update(num_images)
        if line := self._contention.line():
            self.message(line)

    def message(self, text: str) -> None:
        """Prints a line, above the progress bar if there is one."""
        from tqdm import tqdm

        tqdm.write(text)
        sys.stdout.flush()

    def end_epoch(self, epoch: Epoch) -> None:
        """Closes the progress bar and prints the line of the epoch."""
        self._bar.close()
        self.message(epoch.row.line(self._epochs))

    def end(self, status: str) -> None:
        """Closes the progress bar."""
        if self._bar is not None:
            self._bar.close()
