"""The progress of a run, as a checkpoint stores it."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field

from pyrovae.utils.signals import Diverged
from pyrovae.utils.text import counted

__all__ = ["TrainingState"]

NUM_BEST = 2

#: The log line for a run of an older version, which trained densities without noise.
WITHOUT_NOISE = (
    "an older version began this run: it trains on k / 255, but is validated on (k + u) / 256, so "
    "its training and validation ELBOs cannot be compared; in a new run they can"
)


@dataclass
class TrainingState:
    """The progress of a run, as plain values; `epochs` is the planned number, 0 if unknown."""

    num_images: int = 0
    images: str = ""
    images_per_step: int = 0
    num_threads: int = 0
    dequantised: bool = True
    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    finite: int = 0
    loss: float = 0.0
    elbo: float = 0.0
    rate: float = 0.0
    norm: float = 0.0
    best: list[tuple[float, int]] = field(default_factory=list)
    epochs: int = 0
    run: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False, repr=False)

    def begin_epoch(self) -> None:
        """Resets the sums over an epoch's steps."""
        self.batch = self.skipped = self.finite = 0
        self.loss = self.elbo = self.rate = self.norm = self.epoch_seconds = 0.0

    def regroup(self, images_per_step: int, steps: int) -> None:
        """Converts the position in the epoch to steps of another size.

        No image is seen twice: images of an incomplete step wait for the next epoch.

        Args:
            images_per_step: the new size of a step.
            steps: how many of these an epoch has. Programs that repeat images with labels have
                more than the number of images gives.
        """
        done = min(steps, -(-self.batch * self.images_per_step // images_per_step))
        self.step, self.batch = self.step + done - self.batch, done
        self.images_per_step = images_per_step

    def add(self, loss: float, elbo: float, rate: float, norm: float) -> None:
        """Counts a step that was finite."""
        self.skipped_in_a_row, self.finite = 0, self.finite + 1
        self.loss, self.elbo, self.rate = self.loss + loss, self.elbo + elbo, self.rate + rate
        self.norm += norm

    def skip(self) -> None:
        """Counts a step that was not finite."""
        self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1

    def check_epoch(self) -> None:
        """Raises `Diverged` if no step of the epoch was finite."""
        if not self.finite:
            raise Diverged(
                f"none of the {self.skipped} steps of epoch {self.epoch + 1} was finite. Try a "
                "lower learning rate or --trainer.clip_norm"
            )

    def mean(self, total: float) -> float:
        """Returns a sum over the epoch's finite steps as their mean."""
        return total / self.finite if self.finite else math.nan

    def record_best(self, elbo: float) -> bool:
        """Records the epoch's validation ELBO; returns whether it is among the best.

        A value that is not finite never is.
        """
        if math.isfinite(elbo):
            self.best = sorted(
                [*self.best, (elbo, self.epoch)], key=lambda ranked: ranked[0], reverse=True
            )
            del self.best[NUM_BEST:]
        return self.epoch in [epoch for _, epoch in self.best]

    def about(self, epochs: int) -> str:
        """Returns a line for the log: where a run of that many epochs continues.

        Example:
            >>> TrainingState(epoch=2, batch=3, step=13).about(epochs=5)
            'continues after step 13 (epoch 3, batch 3)'
            >>> TrainingState(epoch=5, step=25).about(epochs=5)
            '5 of 5 epochs done'
        """
        if self.epoch >= epochs:
            return f"{epochs} of {counted(epochs, 'epoch')} done"
        return f"continues after step {self.step} (epoch {self.epoch + 1}, batch {self.batch})"

    def change_threads(self, num_threads: int) -> str:
        """Records the number of threads; returns a line for the log if it changed.

        Rounding of sums depends on the number of threads.

        Example:
            >>> TrainingState(num_threads=2).change_threads(8)  # doctest: +ELLIPSIS
            'computes with 8 threads, before with 2: ...'
        """
        before, self.num_threads = self.num_threads, num_threads
        if before in (0, num_threads) or not num_threads:  # 0: a GPU computes.
            return ""
        return (
            f"computes with {num_threads} threads, before with {before}: results differ by "
            "rounding from those of an uninterrupted run; "
            f"OMP_NUM_THREADS={before} makes them equal"
        )
