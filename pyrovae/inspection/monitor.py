"""A callback that warns of problems with the posterior during training."""

from __future__ import annotations

import math
from textwrap import shorten

from pyrovae.data import Split
from pyrovae.inspection.diagnosis import diagnose
from pyrovae.posterior.view import PosteriorView
from pyrovae.training.callbacks import Callback, Epoch, RunInfo
from pyrovae.utils.files import replacing

__all__ = ["PosteriorMonitor"]

#: Earlier epochs are not judged: the decoder does not use the latents yet.
LEAST_STEPS = 200


class PosteriorMonitor(Callback):
    """Checks the posterior after each epoch, and warns once of each problem.

    An epoch has one warning at most, of its worst problem. There is none before step 200, and none
    before beta has its final value. Warnings are printed, and written to the run's `warnings.txt`.

    Use it to detect problems early, such as posterior collapse.

    Args:
        images: the number of images of the validation split that it uses.

    Example:
        >>> callbacks = [PosteriorMonitor(images=32)]  # Trainer.fit(..., callbacks=callbacks)
    """

    def __init__(self, images: int = 64) -> None:
        self.images = images
        self.warned: list[str] = []
        self._info: RunInfo | None = None
        self._failed = False

    def begin(self, info: RunInfo) -> None:
        """Reads the warnings of an earlier part of the run."""
        self._info, self.warned = info, []
        if info.run is not None and info.run.warnings.exists():
            self.warned = info.run.warnings.read_text(errors="replace").splitlines()

    def end_epoch(self, epoch: Epoch) -> None:
        """Prints and saves the new warnings."""
        lines = self.look(epoch) if math.isfinite(epoch.row.val_elbo) else []
        if not lines or self._info is None:
            return
        for line in lines:
            self._info.say(line)
        if self._info.run is not None:
            with replacing(self._info.run.warnings) as temporary:
                temporary.write_text("\n".join(self.warned) + "\n")

    def look(self, epoch: Epoch) -> list[str]:
        """The new warning, as a list of one line; empty without one."""
        some = epoch.split.spread(self.images)
        early = epoch.row.step < LEAST_STEPS or not epoch.settled
        if early or len(some) < 2 or self._failed:
            return []
        try:
            return self._look(epoch, some)
        except Exception as error:  # Training goes on with any user's program.
            self._failed = True
            reason = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            return [f"warning: the posterior cannot be checked during training ({reason})"]

    def _look(self, epoch: Epoch, some: Split) -> list[str]:
        wide = self._info is not None and self._info.wide
        verdict, _ = diagnose(PosteriorView(epoch.programs, some, epoch.engine), wide=wide)
        case = verdict.cases[0]  # The rules are in order of severity.
        known = any(line.endswith(case.advice) for line in self.warned)
        if not case.advice or known:
            return []
        place = f"warning (epoch {epoch.row.epoch})"
        self.warned.append(f"{place}: the posterior is {case.word}: {case.reason} {case.advice}")
        return self.warned[-1:]
