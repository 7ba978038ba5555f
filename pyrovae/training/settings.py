"""The settings of a run: length, batch size, seed, clipping and stopping rules."""

from __future__ import annotations

from numbers import Integral

from pyrovae.objectives import Objective
from pyrovae.utils.arguments import Recorded

__all__ = ["Settings"]


#: The difference of a weight from 1 that is not worth a line.
TOLERANCE = 0.05


class Settings(Recorded):
    """The settings of a run; see `Trainer` for each."""

    def __init__(
        self,
        epochs: int = 10,
        batch_size: int = 64,
        seed: int = 1265,
        clip_norm: float | None = None,
        patience: int | None = None,
        max_skipped: int = 20,
        sync_batch_norm: bool = False,
        restore_best: bool = False,
        ema: float | None = None,
    ) -> None:
        limits = {"patience": patience, "max_skipped": max_skipped}
        counts = {"epochs": epochs, "batch_size": batch_size, **limits}
        for name, number in {**counts, "seed": seed}.items():
            if not isinstance(number, Integral) and (number is not None or name not in limits):
                raise TypeError(f"{name} must be an integer, got {number!r}")
        for name, number in counts.items():
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, got {seed}")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm must be positive or null, got {clip_norm}")
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"ema must be between 0 and 1, or null, got {ema}")
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.clip_norm, self.patience, self.max_skipped = clip_norm, patience, max_skipped
        self.sync_batch_norm, self.restore_best = sync_batch_norm, restore_best
        self.ema = ema

    def about_best(self, objective: Objective, beta: float) -> str:
        """A line for the log if the best epoch is not the best one for the loss; "" if it is.

        Args:
            objective: the objective.
            beta: the weight of the rate in the loss at the end of training.
        """
        if not (self.patience or self.restore_best):
            return ""
        best = "the best epoch has the highest validation ELBO"
        keep = "--trainer.patience null and --trainer.restore_best false keep the last epoch"
        if not objective.maximises_elbo:
            return (
                f"{best}, which {type(objective.innermost()).__name__} does not maximise: {keep}"
            )
        if abs(beta - 1) < TOLERANCE:
            return ""
        weights = f"in which the rate has the weight 1; the loss ends with the weight {beta:g}"
        return f"{best}, {weights}: {keep}"
