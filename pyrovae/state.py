"""Where a run stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["TrainingState"]

NUM_BEST = 2

#: What is said where a run goes on that another rule of observing began.
DEQUANTISED_NOW = (
    "this run was begun on k / 255, without noise; from here on its density is trained on "
    "(k + u) / 256, as it is validated: training ELBOs before and after do not compare"
)


@dataclass
class TrainingState:
    """Where a run stands, as plain values: with weights, optimiser and generators all of it."""

    num_images: int = 0
    images: str = ""
    images_per_step: int = 0
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
    best: list[tuple[float, int]] = field(default_factory=list)

    def begin_epoch(self) -> None:
        """Clears the sums over the batches of an epoch."""
        self.batch = self.skipped = self.finite = 0
        self.loss = self.elbo = self.rate = self.epoch_seconds = 0.0

    def regroup(self, images_per_step: int) -> None:
        """Counts what is done of the epoch in steps of another size, as other processes take.

        No image is seen twice: the rest of a step that was not whole waits for another epoch.
        """
        done = -(-self.batch * self.images_per_step // images_per_step)
        done = min(done, max(1, self.num_images // images_per_step))
        self.step, self.batch = self.step + done - self.batch, done
        self.images_per_step = images_per_step

    def add(self, loss: float, elbo: float, rate: float) -> None:
        """Counts a step that was finite."""
        self.skipped_in_a_row, self.finite = 0, self.finite + 1
        self.loss, self.elbo, self.rate = self.loss + loss, self.elbo + elbo, self.rate + rate

    def skip(self) -> None:
        """Counts a step that was not finite."""
        self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1

    def mean(self, total: float) -> float:
        """A sum over the epoch's steps as their mean."""
        return total / self.finite if self.finite else math.nan

    def rank(self, elbo: float) -> bool:
        """Takes in the epoch's validation ELBO; returns whether it is among the best."""
        self.best = sorted([*self.best, (elbo, self.epoch)], key=_worth, reverse=True)[:NUM_BEST]
        return self.epoch in [epoch for _, epoch in self.best]

    def about(self, epochs: int) -> str:
        """A line for people: where a run of that many epochs goes on.

        Example:
            >>> TrainingState(epoch=2, batch=3, step=13).about(epochs=5)
            'goes on after step 13 (epoch 3, batch 3)'
            >>> TrainingState(epoch=5, step=25).about(epochs=5)
            'all 5 epochs are done'
        """
        if self.epoch >= epochs:
            return f"all {epochs} epochs are done"
        return f"goes on after step {self.step} (epoch {self.epoch + 1}, batch {self.batch})"


def _worth(ranked: tuple[float, int]) -> float:
    """The ELBO to rank by: one that is no number is worse than all."""
    return -math.inf if math.isnan(ranked[0]) else ranked[0]
